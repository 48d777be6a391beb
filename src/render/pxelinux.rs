//! PXELINUX configurations (BIOS only, everything by TFTP).
//!
//! PXELINUX takes the rest of an `APPEND` line as it is: no quotes, nothing to escape. There is
//! no `IPAPPEND`: the kernel gets the same words whatever loader starts it.

use super::CmdlineError;

/// A boot to write down.
#[derive(Clone, Debug)]
pub struct Script {
    /// What makes a name start at the root of the tree, whatever folder the configuration came
    /// from: `::` for PXELINUX, `/` for U-Boot and Petitboot.
    pub root: &'static str,
    /// Path in the TFTP tree, with or without a slash before it.
    pub kernel: String,
    pub initrds: Vec<String>,
    /// Words of the kernel command line.
    pub cmdline: Vec<String>,
    /// For people who read the configuration.
    pub comment: String,
}

/// Loads kernel and initrds and starts them.
pub fn install(script: &Script) -> Result<String, CmdlineError> {
    let path = |name: &String| path(script.root, name);
    let kernel = path(&script.kernel)?;
    let initrds = script.initrds.iter().map(path).collect::<Result<Vec<_>, _>>()?;
    let initrd = match initrds.is_empty() {
        true => None,
        false => Some(format!("initrd={}", initrds.join(","))),
    };
    if let Some(bad) = script.cmdline.iter().find(|word| word.chars().any(char::is_control)) {
        return Err(unfit(bad, "it has a control character"));
    }
    // U-Boot fills in `${…}` and `$(…)` and takes out quotes and backslashes before it boots
    // (cli_simple_process_macros).
    let altered = |word: &&String| word.contains(['\'', '\\']) || word.contains("${") || word.contains("$(");
    if let Some(bad) = script.cmdline.iter().find(altered).filter(|_| script.root == "/") {
        return Err(CmdlineError::Unfit {
            word: bad.clone(),
            loader: "U-Boot",
            reason: "it fills in `${…}` itself, and takes out `'` and `\\`",
        });
    }
    let words: Vec<&str> =
        initrd.as_deref().into_iter().chain(script.cmdline.iter().map(String::as_str)).collect();
    let append = words.join(" ");
    let append = if append.is_empty() { "-".to_owned() } else { append };
    Ok(format!(
        "# voldemort: {}\nDEFAULT install\nPROMPT 0\nLABEL install\n  KERNEL {kernel}\n  APPEND {append}\n",
        shown_text(&script.comment)
    ))
}

/// Continues with the local disk. `LOCALBOOT 0` is the normal local boot; 4 and 5 would keep network
/// drivers in memory.
pub fn local_boot(reason: &str) -> String {
    format!(
        "# voldemort: booting the local disk: {}\nDEFAULT local\nPROMPT 0\nLABEL local\n  LOCALBOOT 0\n",
        shown_text(reason)
    )
}

fn unfit(word: &str, reason: &'static str) -> CmdlineError {
    CmdlineError::Unfit { word: word.to_owned(), loader: "PXELINUX", reason }
}

fn path(root: &str, path: &str) -> Result<String, CmdlineError> {
    if path.chars().any(|c| c.is_control() || matches!(c, ' ' | ',')) {
        return Err(unfit(path, "it ends a name at a space, a comma or a control character"));
    }
    Ok(format!("{root}{}", path.trim_start_matches('/')))
}

/// Text for people, on one line.
fn shown_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(cmdline: &[&str]) -> Script {
        Script {
            root: "::",
            kernel: "/debian/linux".to_owned(),
            initrds: vec!["debian/initrd.gz".to_owned()],
            cmdline: cmdline.iter().map(|word| (*word).to_owned()).collect(),
            comment: "installing web-1".to_owned(),
        }
    }

    #[test]
    fn installs() {
        assert_eq!(
            install(&script(&["ds=nocloud;s=http://a/", "a=\"b  c\"", "---"])).unwrap(),
            "# voldemort: installing web-1\nDEFAULT install\nPROMPT 0\nLABEL install\n  KERNEL ::debian/linux\n  \
             APPEND initrd=::debian/initrd.gz ds=nocloud;s=http://a/ a=\"b  c\" ---\n"
        );
        let mut two = script(&[]);
        two.initrds.push("/more".to_owned());
        assert!(install(&two).unwrap().contains("APPEND initrd=::debian/initrd.gz,::more\n"));
        two.initrds.clear();
        assert!(install(&two).unwrap().contains("APPEND -\n"));
    }

    #[test]
    fn refuses_what_would_end_the_line() {
        assert!(install(&script(&["a\nKERNEL b"])).is_err());
        let mut odd = script(&[]);
        odd.initrds[0] = "a,b".to_owned();
        assert!(install(&odd).is_err());
        for word in ["a=${b}", "$(b)", "it's", "a\\b"] {
            let mut board = script(&[word]);
            assert!(install(&board).is_ok(), "{word}");
            board.root = "/";
            assert!(install(&board).is_err(), "{word}");
        }
    }

    #[test]
    fn boots_locally() {
        assert_eq!(
            local_boot("web-1 is\ninstalled"),
            "# voldemort: booting the local disk: web-1 is installed\nDEFAULT local\nPROMPT 0\nLABEL local\n  LOCALBOOT 0\n"
        );
    }
}
