//! What becomes of subnets.

use std::collections::BTreeSet;

use super::{lines, list, note, plain, power, resealed};
use crate::desired::{Desired, Ipv6, Subnet};
use crate::model::{Cidr, Name};
use crate::plan::{Action, Change};

pub(super) fn subnets(before: &Desired, after: &Desired, changes: &mut Vec<Change>) {
    let resealed = resealed(before, after);
    for (name, subnet) in &after.subnets {
        match before.subnets.get(name) {
            None => changes.push(plain(
                "subnet",
                name,
                Action::Create,
                &subnet.origin,
                "is served from now on",
                vec![],
            )),
            Some(former) => {
                let details = subnet_details(former, subnet, &resealed);
                if !details.is_empty() {
                    let reason = "clients learn it with their next lease";
                    changes.push(plain("subnet", name, Action::Update, &subnet.origin, reason, details));
                }
            }
        }
    }
    for (name, subnet) in before.subnets.iter().filter(|(name, _)| !after.subnets.contains_key(*name)) {
        changes.push(plain("subnet", name, Action::Remove, &subnet.origin, "is no longer served", vec![]));
    }
}

fn subnet_details(before: &Subnet, after: &Subnet, resealed: &BTreeSet<&Name>) -> Vec<String> {
    let Subnet {
        name: _,
        cidr,
        gateway,
        dns,
        domain,
        dynamic,
        lease,
        options,
        mode,
        unknown,
        idle,
        power: now,
        ipv6,
        segment,
        origin: _,
    } = after;
    let mut details = Vec::new();
    let four = |cidr: &Option<Cidr>| cidr.map_or("none".into(), |cidr| cidr.to_string());
    note(&mut details, "cidr", &four(&before.cidr), &four(cidr));
    note(&mut details, "gateway", &format!("{:?}", before.gateway), &format!("{gateway:?}"));
    note(&mut details, "dns", &format!("{:?}", before.dns), &format!("{dns:?}"));
    note(&mut details, "domain", &format!("{:?}", before.domain), &format!("{domain:?}"));
    note(&mut details, "dynamic", &list(&before.dynamic), &list(dynamic));
    note(&mut details, "lease", &before.lease.to_string(), &lease.to_string());
    note(&mut details, "segment", before.segment.as_str(), segment.as_str());
    note(&mut details, "mode", &before.mode.to_string(), &mode.to_string());
    note(&mut details, "unknown", before.unknown.name(), unknown.name());
    note(&mut details, "idle", before.idle.name(), idle.name());
    power(&mut details, before.power.as_ref(), now.as_ref(), resealed);
    note(&mut details, "options", &lines(&before.options), &lines(options));
    let six = |ipv6: &Option<Ipv6>| ipv6.as_ref().map_or("none".into(), |ipv6| ipv6.lines().join(", "));
    note(&mut details, "ipv6", &six(&before.ipv6), &six(ipv6));
    details
}
