//! cloud-init, from its NoCloud source.

use super::{Completion, Installer, Kind, NOCLOUD_FILES, NOCLOUD_NEED, Template};
use crate::render::builtin::{Input, accounts, text};
use crate::render::syntax::cloud;

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::CloudInit,
    files: NOCLOUD_FILES,
    takes_folder: true,
    check: |text| cloud::read(text).found,
    needs: &[NOCLOUD_NEED],
    cmdline: &[],
    passwords: cloud::passwords,
    image: None,
    completion: Completion::Hook,
    template: Some(Template {
        source: include_str!("../../../templates/cloud-init.liquid"),
        inputs: template_inputs,
    }),
};

/// What the built-in template reads beside the well-known variables.
fn template_inputs() -> Vec<Input> {
    let mut inputs = accounts();
    inputs.push(text("locale", "en_US.UTF-8", "language and country"));
    inputs
}
