//! Where user data of cloud-init has passwords.

/// `password`, `plain_text_passwd`, and the list of `chpasswd`.
pub(in crate::render) fn passwords(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // The indentation of `chpasswd`, and of the `list` in it.
    let (mut outer, mut list) = (None, None);
    // That of Ubuntu's `identity`, whose password is a hash by its meaning.
    let mut identity = None;
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let indent = line.len() - bare.len();
        list = list.filter(|list| indent > *list);
        outer = outer.filter(|outer| indent > *outer);
        identity = identity.filter(|identity| indent > *identity);
        if bare.starts_with("identity:") {
            identity = Some(indent);
        }
        if identity.is_some() || line.contains("identity:") {
            continue;
        }
        if list.is_some() {
            found.extend(pair(bare));
            continue;
        }
        found.extend(keyed(line, "password").or_else(|| keyed(line, "plain_text_passwd")));
        if bare.starts_with("chpasswd:") {
            outer = Some(indent);
        } else if outer.is_some() && bare.starts_with("list:") {
            list = Some(indent);
            found.extend(pair(bare["list:".len()..].trim()));
        }
    }
    found
}

/// `user:password`, as an item or a line. cloud-init makes one up for `R` and `RANDOM`.
fn pair(line: &str) -> Option<&str> {
    let line = line.trim_start_matches("- ").trim().trim_matches(['"', '\'']);
    let (user, password) = line.split_once(':')?;
    (!user.contains(['|', '>', ' ', '[']) && !matches!(password, "R" | "RANDOM")).then(|| password.trim())
}

/// The value of a key that stands in a line, alone or between braces.
fn keyed<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let at = line.match_indices(key).map(|(at, _)| at).find(|at| {
        let before = line[..*at].trim_end_matches(['"', '\'']);
        before.chars().next_back().is_none_or(|c| matches!(c, ' ' | '\t' | '{' | ',' | '-'))
            && line[at + key.len()..].trim_start_matches(['"', '\'']).starts_with(": ")
    })?;
    let value = line[at + key.len()..].split_once(": ").map(|(_, value)| value.trim_start())?;
    let end = match value.chars().next()? {
        quote @ ('"' | '\'') => return value[1..].split(quote).next(),
        _ => value.find([',', '}']).or_else(|| value.find(" #")).unwrap_or(value.len()),
    };
    Some(value[..end].trim_end())
}
