//! A plan as text and as Markdown. (JSON is the value itself.)

use std::fmt::Write;

use super::fold::{Fold, fold, general};
use super::{Action, Change, Hold, Impact, Patch, Plan};
use crate::model::folded::folded;
use crate::model::printable;

/// Most characters of a comment: GitHub refuses more than 65,536.
const COMMENT_MAX: usize = 60_000;

/// How much of a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Changes that are the same are one.
    #[default]
    Folded,
    /// Every change by itself.
    Details,
    /// What changes, without how.
    Summary,
}

/// For a terminal: grouped by impact, the worst last so that it stays on the screen.
pub fn text(plan: &Plan) -> String {
    text_as(plan, View::Folded)
}

/// The same, with more or less of it.
pub fn text_as(plan: &Plan, view: View) -> String {
    if plan.is_empty() {
        return format!("No changes: the table already has this state ({}).\n", revision(&plan.from));
    }
    let mut out = String::new();
    for (impact, changes) in groups(plan) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{impact}: {}", meaning(impact));
        folds(plan, &changes, view).iter().for_each(|fold| lines(&mut out, fold, view));
        out.push('\n');
    }
    if let Some(note) = uncompared(plan) {
        let _ = writeln!(out, "{note}");
    }
    let _ = writeln!(out, "{}\n{}", summary(plan), plan.blast.line());
    printable::lines(&out).into_owned()
}

fn folds<'a>(plan: &'a Plan, changes: &[&'a Change], view: View) -> Vec<Fold<'a>> {
    match view {
        View::Details => changes.iter().map(|change| Fold { shown: change, all: vec![change] }).collect(),
        View::Folded | View::Summary => fold(changes, &plan.changes),
    }
}

fn lines(out: &mut String, fold: &Fold<'_>, view: View) {
    let change = fold.shown;
    let _ = writeln!(out, "  {} {}  ({})", sign(change), subject(fold), origin(fold));
    let _ = writeln!(out, "      {}", own(&change.reason, fold));
    if view == View::Summary {
        return;
    }
    for detail in &change.details {
        let _ = writeln!(out, "      {}", own(detail, fold));
    }
    if let Some(other) = &change.served_like {
        let _ = writeln!(out, "      what {} served changes as for {other}", are(fold));
    } else if !change.served.is_empty() && fold.all.len() > 1 {
        let _ = writeln!(out, "      what they are served changes alike, shown for {}", change.name);
    }
    for patch in &change.served {
        let _ = writeln!(out, "      {}:", patch.name);
        for line in &patch.lines {
            let _ = writeln!(out, "        {line}");
        }
        if patch.left_out > 0 {
            let _ = writeln!(out, "        … {} more lines", patch.left_out);
        }
    }
}

/// A text about the change, or about all that are the same.
fn own(text: &str, fold: &Fold<'_>) -> String {
    if fold.all.len() > 1 { general(text, fold.shown) } else { text.to_owned() }
}

fn are(fold: &Fold<'_>) -> &'static str {
    if fold.all.len() > 1 { "they are" } else { "it is" }
}

fn origin(fold: &Fold<'_>) -> String {
    let more = if fold.all.len() > 1 { " …" } else { "" };
    format!("{}{more}", fold.all.first().map_or("", |first| &first.origin))
}

fn subject(fold: &Fold<'_>) -> String {
    let change = fold.shown;
    if fold.all.len() > 1 {
        let names = folded(fold.all.iter().map(|one| one.name.as_str()));
        let machines = folded(fold.all.iter().filter_map(|one| one.machine.as_deref()));
        let on = match change.kind == "deployment" && !machines.is_empty() && machines != names {
            true => format!(" on {machines}"),
            false => String::new(),
        };
        return format!("{} {}s: {names}{on}", fold.all.len(), change.kind);
    }
    let machine = match (&change.machine, &change.former_machine) {
        _ if change.kind != "deployment" => String::new(),
        (Some(machine), Some(former)) => format!(" on {machine} (was on {former})"),
        (Some(machine), None) => format!(" on {machine}"),
        (None, _) => String::new(),
    };
    match &change.former_name {
        Some(former) => format!("{} {former} -> {}{machine}", change.kind, change.name),
        None => format!("{} {}{machine}", change.kind, change.name),
    }
}

/// For a pull request comment; `holds` are the reasons why it would wait for a person's consent.
pub fn markdown(plan: &Plan, holds: &[Hold]) -> String {
    if plan.is_empty() {
        return "**No changes.**\n".into();
    }
    let mut head = format!("**{}**\n\n{}\n", summary(plan), cell(&plan.blast.line()));
    for hold in holds {
        let names = cell(&folded(hold.names.iter().map(String::as_str)));
        let _ = writeln!(head, "\n> **Held**: {} ({names}); {}", cell(&hold.reason), cell(&hold.cure));
    }
    if let Some(note) = uncompared(plan) {
        let _ = writeln!(head, "\n{note}");
    }
    // What has no room is the least harmful: first the diffs go, then the list is cut behind the worst.
    let whole = items(plan, View::Folded, usize::MAX);
    if head.len() + whole.len() <= COMMENT_MAX {
        return printable::lines(&(head + &whole)).into_owned();
    }
    head += "\nThe diffs have no room here; `voldemort plan` shows them.\n";
    let room = COMMENT_MAX.saturating_sub(head.len());
    let most = items(plan, View::Summary, room);
    printable::lines(&(head + &most)).into_owned()
}

/// The changes as lists, the worst last if all of them have room, else the worst first and as many as have.
fn items(plan: &Plan, view: View, room: usize) -> String {
    let title = |impact| format!("\n### {impact}: {}\n\n", meaning(impact));
    let parts = |(impact, changes): (Impact, Vec<&Change>)| {
        let mut parts = vec![title(impact)];
        for fold in folds(plan, &changes, view) {
            let mut part = String::new();
            item(&mut part, &fold, view);
            parts.push(part);
        }
        parts
    };
    let mut all: Vec<Vec<String>> = groups(plan).into_iter().map(parts).collect();
    if all.iter().flatten().map(String::len).sum::<usize>() <= room {
        return all.into_iter().flatten().collect();
    }
    all.reverse();
    let full = "\n… this comment is full; `voldemort plan` shows the rest.\n";
    let mut out = String::new();
    for part in all.into_iter().flatten() {
        if out.len() + part.len() + full.len() > room {
            return out + full;
        }
        out += &part;
    }
    out
}

fn item(out: &mut String, fold: &Fold<'_>, view: View) {
    let change = fold.shown;
    let origin = cell(&origin(fold));
    let _ = writeln!(out, "- {} **{}** ({origin})  ", sign(change), cell(&subject(fold)));
    let _ = writeln!(out, "  {}", cell(&own(&change.reason, fold)));
    if view == View::Summary {
        return;
    }
    for detail in &change.details {
        let _ = writeln!(out, "  - {}", code(&own(detail, fold)));
    }
    if let Some(other) = &change.served_like {
        let _ = writeln!(out, "  - what {} served changes as for **{}**", are(fold), cell(other));
    } else if !change.served.is_empty() && fold.all.len() > 1 {
        let _ = writeln!(out, "  - what they are served changes alike, shown for **{}**", cell(&change.name));
    }
    change.served.iter().for_each(|patch| block(out, change, patch));
}

/// A patch that opens when it is clicked at.
fn block(out: &mut String, change: &Change, patch: &Patch) {
    let longest = patch.lines.iter().map(|line| ticks(line)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(
        out,
        "\n  <details><summary>{} of {}</summary>\n\n  {fence}diff",
        cell(&patch.name),
        cell(&change.name)
    );
    for line in &patch.lines {
        let _ = writeln!(out, "  {line}");
    }
    if patch.left_out > 0 {
        let _ = writeln!(out, "  … {} more lines", patch.left_out);
    }
    let _ = writeln!(out, "  {fence}\n\n  </details>\n");
}

/// The longest run of backticks.
fn ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn code(text: &str) -> String {
    let fence = "`".repeat(ticks(text) + 1);
    let blank = if text.contains('`') { " " } else { "" };
    format!("{fence}{blank}{}{blank}{fence}", text.replace('\n', " "))
}

/// One line that counts the changes by impact.
pub fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return "Plan: no changes.".into();
    }
    let counts: Vec<String> =
        groups(plan).iter().map(|(impact, changes)| format!("{} {impact}", changes.len())).collect();
    let plural = if plan.changes.len() == 1 { "" } else { "s" };
    format!("Plan: {} change{plural} ({}).", plan.changes.len(), counts.join(", "))
}

fn uncompared(plan: &Plan) -> Option<String> {
    let count = plan.uncompared;
    (count > 0).then(|| format!("What {count} more machines are served was not compared: they are many."))
}

fn groups(plan: &Plan) -> Vec<(Impact, Vec<&Change>)> {
    let of = |impact| plan.changes.iter().filter(|change| change.impact == impact).collect::<Vec<_>>();
    Impact::ALL
        .into_iter()
        .map(|impact| (impact, of(impact)))
        .filter(|(_, changes)| !changes.is_empty())
        .collect()
}

fn meaning(impact: Impact) -> &'static str {
    match impact {
        Impact::Live => "answers change now, machines keep running",
        Impact::NextBoot => "happens when the machine next boots from the network",
        Impact::Reboot => "machines are restarted",
        Impact::Release => "machines are released",
        Impact::Wipe => "data on disks is LOST",
    }
}

fn sign(change: &Change) -> char {
    match change.action {
        Action::Create => '+',
        Action::Update | Action::Rename => '~',
        Action::Remove => '-',
    }
}

fn revision(revision: &str) -> &str {
    if revision.is_empty() { "nothing loaded" } else { revision }
}

/// Text that Markdown and HTML leave as it is.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '@' | '#' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Blast, FORMAT_VERSION};
    use super::*;

    fn plan(changes: Vec<Change>) -> Plan {
        Plan {
            format_version: FORMAT_VERSION.into(),
            id: String::new(),
            from: String::new(),
            to: "b".into(),
            lineage: String::new(),
            serial: 0,
            deployments_before: 0,
            given_up: Vec::new(),
            changes,
            blast: Blast::default(),
            uncompared: 0,
        }
    }

    fn change(number: usize, impact: Impact, reason: &str) -> Change {
        Change {
            impact,
            action: Action::Update,
            kind: "deployment".into(),
            name: format!("web-{number:04}"),
            former_name: None,
            machine: Some(format!("u-{number:04}")),
            former_machine: None,
            installs: false,
            protected: false,
            reason: reason.into(),
            origin: format!("a.toml:{number}:1"),
            details: vec!["boot: a -> b".into()],
            served: Vec::new(),
            served_like: None,
        }
    }

    #[test]
    fn what_is_the_same_is_a_line_and_can_be_had_in_full() {
        let plan = plan((1..=400).map(|n| change(n, Impact::NextBoot, "it boots b")).collect());
        let text = text(&plan);
        assert!(
            text.contains(
                "  ~ 400 deployments: web-0001 … web-0400 on u-0001 … u-0400  (a.toml:1:1 …)\n      it boots b\n"
            ),
            "{text}"
        );
        assert!(text.lines().count() < 10, "{text}");
        assert_eq!(text_as(&plan, View::Details).matches("boot: a -> b").count(), 400);
        assert!(!text_as(&plan, View::Summary).contains("boot: a -> b"));
        assert!(markdown(&plan, &[]).len() < 1000);
    }

    #[test]
    fn a_comment_that_is_full_has_the_worst() {
        let mut changes: Vec<Change> =
            (1..=3000).map(|n| change(n, Impact::Live, &format!("reason {}", n * 7))).collect();
        changes.push(change(9999, Impact::Wipe, "its disk is lost"));
        let text = markdown(&plan(changes), &[]);
        assert!(text.len() <= 65_536 && text.contains("its disk is lost"), "{} bytes", text.len());
        assert!(text.contains("this comment is full") && text.contains("The diffs have no room"));
    }
}
