//! The tables as people read them: `docs/life-cycle.md` is printed from them.

use std::fmt::Write;

use super::tenancy::Holder;
use super::*;
use crate::model::Words;
use crate::state::InstallStage;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/life-cycle.md");

const HEAD: &str = "\
# The life of a machine

Printed from the tables in `src/state/lifecycle/` by a test (`UPDATE_GOLDEN=1 cargo test --lib lifecycle` writes it anew). [Claims](claims.md), \
[discovery](discovery.md), [the agent](agent.md) and [power](power.md) say how a person meets them.

A machine is described by four axes: how well it is **known**, what it is for (its **tenancy**, under an epoch), what is being done with it \
(its **work**, which may be overdue or have failed), and what is on each of its **disks**. A state that stands in no row below a \
cause is not left by it: the command is refused.

";

/// One table: a row for each cause and state that it leaves.
fn table<S: Words, C: Words>(
    page: &mut String,
    title: &str,
    head: &str,
    step: impl Fn(S, C) -> Option<(S, String)>,
) {
    writeln!(
        page,
        "## {title}\n\n| is | cause | becomes |{head}\n|---|---|---|{}",
        if head.is_empty() { "" } else { "---|" }
    )
    .unwrap();
    for cause in C::all() {
        for from in S::all() {
            let Some((to, more)) = step(*from, *cause) else { continue };
            writeln!(page, "| {} | {} | {} |{more}", from.text(), cause.text(), to.text()).unwrap();
        }
    }
    page.push('\n');
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    fn plain<S>(next: S) -> (S, String) {
        (next, String::new())
    }
    table(&mut page, "Known", "", |from, cause| known::step(from, cause).map(plain));
    table(&mut page, "Tenancy", " epoch |", |from, cause| {
        tenancy::step(from, cause)
            .map(|(to, is_new)| (to, format!(" {} |", if is_new { "a new one" } else { "the same" })))
    });
    table(&mut page, "Work", " what follows |", |from, cause| {
        work::step(from, cause).map(|(to, acts)| {
            let acts: Vec<&str> = acts.iter().map(|act| act.name()).collect();
            (to, format!(" {} |", acts.join("; ")))
        })
    });
    table(&mut page, "Condition of the work", "", |from, cause| condition::step(from, cause).map(plain));
    table(&mut page, "Disks", "", |from, cause| disk::step(from, cause).map(plain));
    page.push_str(
        "## What a network boot is answered\n\n| work | answer | while a person holds it |\n|---|---|---|\n",
    );
    for work in Work::ALL {
        let answer = |is_held| boot::answer(Known::Accepted, work, is_held, true);
        writeln!(page, "| {work} | {} | {} |", answer(false), answer(true)).unwrap();
    }
    let unknown = |discovers| boot::answer(Known::Seen, Work::None, false, discovers);
    writeln!(
        page,
        "\nA machine that nothing is recorded of gets {} where its subnet has unknown machines looked at, else {}.",
        unknown(true),
        unknown(false)
    )
    .unwrap();
    page.push_str("\n## The word that people see\n\n| known | tenancy | work | word |\n|---|---|---|---|\n");
    for known in Known::ALL {
        for holder in Holder::ALL {
            for work in Work::ALL {
                let has_tenant = holder != Holder::None;
                // Without a tenancy there is nothing to install, and an order has none beside it.
                if has_tenant == work.is_order() && work != Work::None
                    || !has_tenant && matches!(work, Work::Installing | Work::NetworkBoot)
                {
                    continue;
                }
                let word = word::of(known, holder, work, Condition::Well, false, Some(InstallStage::Started));
                writeln!(page, "| {known} | {holder} | {work} | {word} |").unwrap();
            }
        }
    }
    page.push_str("\nWork that failed shows as `failed`, and a machine that a person holds as `held`, whatever else it is. An installation that \
         has not begun shows as `waiting`, and one that a new or restored state directory knows nothing of as `doubtful`.\n");
    page
}

#[test]
fn the_page_is_what_the_tables_say() {
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(written, page, "UPDATE_GOLDEN=1 writes docs/life-cycle.md anew");
}

/// Rules that no row may break.
#[test]
fn the_tables_keep_the_rules() {
    for from in Work::ALL {
        for cause in work::Cause::ALL {
            let Some((to, acts)) = work::step(from, cause) else { continue };
            // Disks are wiped under an order that was fenced, and each order counts once.
            let begins = to == Work::Wiping && from == Work::Fencing;
            assert_eq!(acts.contains(&work::Act::CountWipe), begins, "{from}: {cause}");
            assert!(to != Work::Wiping || from.is_order(), "{from}: {cause}");
            // An order that was fenced ends by a verified wipe alone.
            let is_cancelled = from == Work::Fencing && cause == work::Cause::Withdrawn;
            let is_over = cause == work::Cause::Verified || is_cancelled;
            assert!(!from.is_order() || to.is_order() || is_over, "{from}: {cause}");
            assert!(to != Work::Fencing || acts.contains(&work::Act::RaiseEpoch), "{from}: {cause}");
        }
    }
    for from in Condition::ALL {
        let late = condition::step(from, condition::Cause::TimeRanOut);
        assert!(from == Condition::Failed || late != Some(Condition::Failed), "time alone fails nothing");
    }
    for from in DiskState::ALL {
        for cause in disk::Cause::ALL {
            let to = disk::step(from, cause);
            let cleans =
                to == Some(DiskState::Clean) && !matches!(from, DiskState::Clean | DiskState::Unknown);
            assert!(!cleans || cause == disk::Cause::Verified, "{from}: {cause}");
        }
    }
    assert_eq!(tenancy::step(Holder::Claim, tenancy::Cause::Assigned), None, "the first tenancy stays");
    assert_eq!(tenancy::step(Holder::Deployment, tenancy::Cause::Claimed), None, "the first tenancy stays");
}
