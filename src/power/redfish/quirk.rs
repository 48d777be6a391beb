//! What controllers of some vendors need besides what the standard says. What is not in the table is tried as the
//! standard has it, and the answer says what is missing.

use serde_json::Value;

/// How a vendor's controllers differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quirk {
    /// Words of the service root: its `Vendor`, or a key of its `Oem`. None for all others.
    vendors: &'static [&'static str],
    /// Whether the override of the boot is changed in the resource that `@Redfish.Settings` names, where it waits for the
    /// next start.
    pub is_override_in_settings: bool,
    /// Whether changes need `If-Match`.
    pub needs_if_match: bool,
    /// Whether an override may be taken away with the target `None`, where being disabled alone is refused.
    pub takes_none: bool,
}

/// By vendor; the last is that of all others.
const QUIRKS: [Quirk; 4] = [
    // `/Systems/Self/SD`: a change of the system itself is accepted, and nothing comes of it.
    Quirk { vendors: &["AMI"], is_override_in_settings: true, needs_if_match: true, takes_none: true },
    // iLO refuses the target None.
    Quirk {
        vendors: &["HPE", "HP"],
        is_override_in_settings: false,
        needs_if_match: false,
        takes_none: false,
    },
    // XClarity changes nothing without a condition.
    Quirk { vendors: &["Lenovo"], is_override_in_settings: false, needs_if_match: true, takes_none: true },
    Quirk { vendors: &[], is_override_in_settings: false, needs_if_match: false, takes_none: true },
];

impl Quirk {
    /// That of a controller with this service root.
    pub(super) fn of(root: &Value) -> &'static Quirk {
        let vendor = root.get("Vendor").and_then(Value::as_str);
        let keys =
            root.get("Oem").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str());
        let words: Vec<&str> = vendor.into_iter().chain(keys).collect();
        let is_meant = |quirk: &&Quirk| {
            quirk.vendors.iter().any(|vendor| words.iter().any(|word| word.eq_ignore_ascii_case(vendor)))
        };
        QUIRKS.iter().find(is_meant).unwrap_or(&QUIRKS[QUIRKS.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vendors_are_known_by_name_or_by_their_extensions() {
        assert!(Quirk::of(&json!({ "Vendor": "AMI" })).is_override_in_settings);
        assert!(Quirk::of(&json!({ "Oem": { "Ami": {} } })).is_override_in_settings);
        assert!(!Quirk::of(&json!({ "Vendor": "HPE" })).takes_none);
        assert_eq!(Quirk::of(&json!({ "Vendor": "Contoso", "Oem": 7 })).vendors, &[] as &[&str]);
        assert_eq!(Quirk::of(&Value::Null).vendors, &[] as &[&str]);
    }
}
