//! A plan as text and as Markdown. (JSON is the value itself.)

use std::fmt::Write;

use super::{Action, Change, Hold, Impact, Patch, Plan};
use crate::model::printable;

/// Most characters of a comment: GitHub refuses more than 65,536.
const COMMENT_MAX: usize = 60_000;

/// For a terminal: grouped by impact, the worst last so that it stays on the screen.
pub fn text(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("No changes: the table already has this state ({}).\n", revision(&plan.from));
    }
    let mut out = String::new();
    for (impact, changes) in groups(plan) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{impact}: {}", meaning(impact));
        changes.iter().for_each(|change| lines(&mut out, change));
        out.push('\n');
    }
    if let Some(note) = uncompared(plan) {
        let _ = writeln!(out, "{note}");
    }
    let _ = writeln!(out, "{}\n{}", summary(plan), plan.blast.line());
    printable::lines(&out).into_owned()
}

fn lines(out: &mut String, change: &Change) {
    let _ = writeln!(out, "  {} {}  ({})", sign(change), subject(change), change.origin);
    let _ = writeln!(out, "      {}", change.reason);
    for detail in &change.details {
        let _ = writeln!(out, "      {detail}");
    }
    if let Some(other) = &change.served_like {
        let _ = writeln!(out, "      what it is served changes as for {other}");
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

fn subject(change: &Change) -> String {
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
    let mut out = format!("**{}**\n\n{}\n", summary(plan), cell(&plan.blast.line()));
    for hold in holds {
        let names = hold.names.iter().take(20).map(|name| cell(name)).collect::<Vec<_>>().join(", ");
        let more = if hold.names.len() > 20 { ", …" } else { "" };
        let _ = writeln!(out, "\n> **Held**: {} ({names}{more}); {}", cell(&hold.reason), cell(&hold.cure));
    }
    for (impact, changes) in groups(plan) {
        let _ = writeln!(out, "\n### {impact}: {}\n", meaning(impact));
        for change in changes {
            let mut part = String::new();
            item(&mut part, change);
            if out.len() + part.len() > COMMENT_MAX {
                let _ = writeln!(out, "\n… this comment is full; `voldemort plan` shows the rest.");
                return printable::lines(&out).into_owned();
            }
            out += &part;
        }
    }
    if let Some(note) = uncompared(plan) {
        let _ = writeln!(out, "\n{note}");
    }
    printable::lines(&out).into_owned()
}

fn item(out: &mut String, change: &Change) {
    let origin = cell(&change.origin);
    let _ = writeln!(out, "- {} **{}** ({origin})  ", sign(change), cell(&subject(change)));
    let _ = writeln!(out, "  {}", cell(&change.reason));
    for detail in &change.details {
        let _ = writeln!(out, "  - {}", code(detail));
    }
    if let Some(other) = &change.served_like {
        let _ = writeln!(out, "  - what it is served changes as for **{}**", cell(other));
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
