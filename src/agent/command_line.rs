//! What the kernel's command line says to the agent beside `crate::api::agent::CommandLine`: the initrd is the same
//! for all machines, this is the part that is this machine's own.

/// The parameter without which the program is not the agent.
const AGENT: &str = "voldemort.agent";
const BLACKLIST: &str = "modprobe.blacklist";

/// Whether a kernel with this command line was started for the agent.
pub fn is_for_agent(text: &str) -> bool {
    parameters(text).iter().any(|(name, _)| name == AGENT)
}

/// Modules that must not be loaded for a device: `modprobe.blacklist=a,b`, as modprobe(8) and dracut(7) read it.
pub fn blacklist(text: &str) -> Vec<String> {
    let lists = parameters(text).into_iter().filter(|(name, _)| name == BLACKLIST);
    lists
        .flat_map(|(_, value)| value.split(',').map(super::modules::index::folded).collect::<Vec<_>>())
        .collect()
}

/// What the command line sets for a module: `MODULE.NAME=VALUE` becomes `NAME=VALUE`, as modprobe(8) does.
pub fn module_parameters(text: &str, module: &str) -> String {
    let of_module = parameters(text).into_iter().filter_map(|(name, value)| {
        let (owner, parameter) = name.split_once('.')?;
        (super::modules::index::folded(owner) == module).then(|| format!("{parameter}={value}"))
    });
    of_module.collect::<Vec<_>>().join(" ")
}

/// Names and values. Double quotes keep blanks in a value (Documentation/admin-guide/kernel-parameters.rst).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for sign in text.chars() {
        match sign {
            '"' => quoted = !quoted,
            sign if sign.is_whitespace() && !quoted => words.push(String::new()),
            sign => words.last_mut().expect("there is always one").push(sign),
        }
    }
    let split = |word: String| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (word, String::new()),
    };
    words.into_iter().filter(|word| !word.is_empty()).map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_called_by_its_parameter_alone() {
        assert!(is_for_agent("quiet voldemort.agent=http://x"));
        assert!(!is_for_agent("quiet voldemort.agents=1 xvoldemort.agent=1"));
        assert!(!is_for_agent("note=\"voldemort.agent=1\""));
    }

    #[test]
    fn modules_get_their_parameters() {
        let text = "e1000e.IntMode=0 e1000e.Debug=\"a b\" modprobe.blacklist=nouveau,snd-hda x.y=1 modprobe.blacklist=z";
        assert_eq!(module_parameters(text, "e1000e"), "IntMode=0 Debug=a b");
        assert_eq!(module_parameters(text, "nouveau"), "");
        assert_eq!(blacklist(text), ["nouveau", "snd_hda", "z"]);
    }
}
