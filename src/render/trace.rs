//! Finds the line of a template that a line of its output came from.

/// The line of `template`, counted from 1, that a line of the output came from (its number, from 1): the
/// one whose fixed parts are all in it, in order. If several match, it is the one with the same position
/// among them as the output's line has among its equals, provided there are as many of both. `None`
/// otherwise, such as for a line that came from a variable.
pub fn template_line(template: &str, output: &str, number: u32) -> Option<u32> {
    let rendered = output.lines().nth(number.checked_sub(1)? as usize)?.trim();
    let weighed =
        template.lines().zip(1..).filter_map(|(line, number)| Some((weigh(line, rendered)?, number)));
    let best = weighed.clone().map(|(weight, _)| weight).max()?;
    let at_best: Vec<u32> = weighed.filter(|(weight, _)| *weight == best).map(|(_, line)| line).collect();
    if let [only] = at_best[..] {
        return Some(only);
    }
    let equals: Vec<u32> =
        output.lines().zip(1..).filter(|(line, _)| line.trim() == rendered).map(|(_, at)| at).collect();
    let rank = equals.iter().position(|at| *at == number)?;
    (equals.len() == at_best.len()).then(|| at_best[rank])
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
        assert_eq!(template_line(TEMPLATE, "lang en_US", 1), Some(1));
        assert_eq!(template_line(TEMPLATE, "\nuser --name=ops --lock", 2), Some(3));
        assert_eq!(template_line(TEMPLATE, "reboot now", 1), Some(6));
    }

    #[test]
    fn of_equal_lines_the_place_among_them_counts() {
        let template = "%post\na {{ x }}\n%end\n%post\nb\n";
        let output = "%post\na 1\n%end\n%post\nb\n";
        assert_eq!(template_line(template, output, 4), Some(4));
        assert_eq!(template_line(template, output, 1), Some(1));
        assert_eq!(template_line(template, "%post\n%post\n%post\n", 3), None, "a loop made more of them");
    }

    #[test]
    fn what_could_be_several_lines_is_none() {
        assert_eq!(template_line(TEMPLATE, "rootpw x", 1), None);
        assert_eq!(template_line(TEMPLATE, "from a variable", 1), None);
        assert_eq!(template_line(TEMPLATE, "", 1), None);
        assert_eq!(template_line("a {{ unclosed", "a b", 1), Some(1));
    }
}
