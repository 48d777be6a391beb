//! Many names in few words.

/// Most groups that are written out.
const GROUPS_MAX: usize = 12;

/// Names as people count them (`n9` before `n10`), with those that count up as one group: `db-1, web-001 … web-400`. Of very many groups the first
/// ones, and how many names are in the rest.
pub fn folded<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_cached_key(|name| order(name));
    let mut groups: Vec<Group> = Vec::new();
    for name in names {
        match groups.last_mut() {
            Some(group) if follows(group.last, name) => {
                (group.last, group.count) = (name, group.count + 1);
            }
            _ => groups.push(Group { first: name, last: name, count: 1 }),
        }
    }
    let rest: usize = groups.iter().skip(GROUPS_MAX).map(|group| group.count).sum();
    let mut parts: Vec<String> = groups.iter().take(GROUPS_MAX).map(Group::text).collect();
    if rest > 0 {
        parts.push(format!("and {rest} more"));
    }
    parts.join(", ")
}

/// Names that count up.
struct Group<'a> {
    first: &'a str,
    last: &'a str,
    count: usize,
}

impl Group<'_> {
    fn text(&self) -> String {
        let Group { first, last, count } = self;
        match count {
            1 => (*first).to_owned(),
            2 => format!("{first}, {last}"),
            _ => format!("{first} … {last}"),
        }
    }
}

/// A name's place among others.
fn order(name: &str) -> (&str, usize, &str, &str) {
    let Some((before, number, after)) = numbered(name) else { return (name, 0, "", "") };
    let digits = number.trim_start_matches('0');
    (before, digits.len(), digits, after)
}

/// Whether `next` is `name` with the next number in the place of its last one.
fn follows(name: &str, next: &str) -> bool {
    let (Some((before, number, after)), Some((before_next, next, after_next))) =
        (numbered(name), numbered(next))
    else {
        return false;
    };
    let counts = match (number.parse::<u64>(), next.parse::<u64>()) {
        (Ok(number), Ok(next)) => number.checked_add(1) == Some(next),
        _ => false,
    };
    // `9` is followed by `10`, and `09` by `10`, but not `09` by `010`.
    let is_padded = number.starts_with('0') || next.starts_with('0');
    before == before_next && after == after_next && counts && (!is_padded || number.len() == next.len())
}

/// What is before the last number of a name, that number, and what is after it.
fn numbered(name: &str) -> Option<(&str, &str, &str)> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + name[at..].chars().next().map_or(1, char::len_utf8));
    Some((&name[..start], &name[start..end], &name[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_count_up_are_one_group() {
        let many: Vec<String> = (1..=400).map(|n| format!("web-{n:03}")).collect();
        assert_eq!(folded(many.iter().map(String::as_str)), "web-001 … web-400");
        assert_eq!(folded(["a", "web-1", "web-2", "web-4"]), "a, web-1, web-2, web-4");
        assert_eq!(folded(["n10", "n11", "n8", "n9"]), "n8 … n11");
        assert_eq!(folded(["n08", "n010", "n09"]), "n08, n09, n010");
        assert_eq!(folded(["r4-b", "r1-a", "r2-a", "r3-a"]), "r1-a … r3-a, r4-b");
        assert_eq!(folded([]), "");
        assert_eq!(folded(["1", "2", "3"]), "1 … 3");
        assert_eq!(
            folded(["é1", "é2", "é3", "18446744073709551615", "99999999999999999999"]),
            "18446744073709551615, 99999999999999999999, é1 … é3"
        );
    }

    #[test]
    fn very_many_groups_are_counted() {
        let odd: Vec<String> = (0..100).map(|n| format!("x{}", n * 2)).collect();
        let text = folded(odd.iter().map(String::as_str));
        assert!(text.ends_with("x22, and 88 more"), "{text}");
    }
}
