//! The schemas in `schemas/` are those of the code.

use std::path::Path;

use voldemort::cli::schema::files;
use voldemort::manifest::schema;

use crate::golden::assert_golden;

#[test]
fn schemas_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, schema) in files() {
        assert_golden(&folder.join(name), &schema::text(&schema));
    }
}
