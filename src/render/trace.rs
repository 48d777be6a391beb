//! Finds the line of a template that a line of its output came from.

/// The line of `template`, counted from 1, that `rendered` (one line of output) came from: the
/// one whose fixed parts are all in it, in order. `None` where several lines would do as well, or
/// none, as for what a variable brought along.
pub fn template_line(template: &str, rendered: &str) -> Option<u32> {
    let rendered = rendered.trim();
    let weighed =
        template.lines().zip(1..).filter_map(|(line, number)| Some((weigh(line, rendered)?, number)));
    let best = weighed.clone().map(|(weight, _)| weight).max()?;
    let mut at_best = weighed.filter(|(weight, _)| *weight == best);
    match (at_best.next(), at_best.next()) {
        (Some((_, number)), None) => Some(number),
        _ => None,
    }
}

/// How many characters of the line are fixed, if all of them are in the output.
fn weigh(line: &str, rendered: &str) -> Option<usize> {
    let parts = fixed_parts(line.trim());
    let weight = parts.iter().map(|part| part.trim().len()).sum();
    let (first, last) = (parts.first()?, parts.last()?);
    if weight == 0 || !rendered.starts_with(first) || !rendered.ends_with(last) {
        return None;
    }
    if parts.len() == 1 {
        return (first.len() == rendered.len()).then_some(weight);
    }
    let mut rest = rendered;
    for part in &parts {
        rest = &rest[rest.find(part)? + part.len()..];
    }
    Some(weight)
}

/// What stands before, between and after `{{ … }}` and `{% … %}`.
fn fixed_parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let end = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        parts.push(&rest[..start]);
        rest = rest[start..].find(end).map_or("", |found| &rest[start + found + 2..]);
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "lang en_US\n{% for user in users %}\nuser --name={{ user.name }} --lock\n{% endfor %}\n\
                            {{ free }}\n  reboot now\nrootpw {{ a }}\nrootpw {{ b }}\n";

    #[test]
    fn lines_are_found_by_their_fixed_parts() {
        assert_eq!(template_line(TEMPLATE, "lang en_US"), Some(1));
        assert_eq!(template_line(TEMPLATE, "user --name=ops --lock"), Some(3));
        assert_eq!(template_line(TEMPLATE, "reboot now"), Some(6));
    }

    #[test]
    fn what_could_be_several_lines_is_none() {
        assert_eq!(template_line(TEMPLATE, "rootpw x"), None);
        assert_eq!(template_line(TEMPLATE, "from a variable"), None);
        assert_eq!(template_line(TEMPLATE, ""), None);
        assert_eq!(template_line("a {{ unclosed", "a b"), Some(1));
    }
}
