//! What a variable of a template holds.

use super::words::words;

words! {
    /// `type` of a template's variable.
    pub enum VariableType {
        String = "string",
        Integer = "integer",
        Boolean = "boolean",
        List = "list",
        Table = "table",
        Secret = "secret",
    }
}
