//! A plan as text and as Markdown. (JSON is the value itself.)

use std::fmt::Write;

use super::{Action, Change, Impact, Plan};

/// For a terminal: grouped by impact, the worst last so that it stays on the screen.
pub fn text(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("No changes: the daemon already has this state ({}).\n", revision(&plan.from));
    }
    let mut out = String::new();
    for (impact, changes) in groups(plan) {
        let _ = writeln!(out, "{impact}: {}", meaning(impact));
        for change in changes {
            let machine = match &change.machine {
                Some(machine) if change.kind == "deployment" => format!(" on {machine}"),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                "  {} {} {}{machine}  ({})",
                sign(change),
                change.kind,
                change.name,
                change.origin
            );
            let _ = writeln!(out, "      {}", change.reason);
            for detail in &change.details {
                let _ = writeln!(out, "      {detail}");
            }
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}", summary(plan));
    out
}

/// For a pull request comment.
pub fn markdown(plan: &Plan) -> String {
    if plan.is_empty() {
        return "**No changes.**\n".into();
    }
    let mut out =
        format!("**{}**\n\n| impact | change | machine | why |\n|---|---|---|---|\n", summary(plan));
    for (impact, changes) in groups(plan) {
        for change in changes {
            let mut why = cell(&change.reason);
            for detail in &change.details {
                let _ = write!(why, "<br>`{}`", cell(detail));
            }
            let machine = change.machine.as_deref().unwrap_or("");
            let _ = writeln!(
                out,
                "| {impact} | {} {} `{}` ({}) | {machine} | {why} |",
                sign(change),
                change.kind,
                change.name,
                cell(&change.origin)
            );
        }
    }
    out
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
        Impact::Release => "machines are given up",
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

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
