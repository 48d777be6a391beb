//! What nftables does with a packet that comes in, by the output of `nft -j list ruleset` (libnftables-json(5)).

use serde_json::Value;

use crate::cli::doctor::sockets::Transport;

/// Chains that call each other deeper than the kernel allows are damaged.
const DEEPEST: usize = 16;

/// The first packet of a machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub transport: Transport,
    pub port: u16,
    /// Unknown without settings.
    pub interface: Option<&'a str>,
}

/// What becomes of it, and where that was decided: `inet filter`, `input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop {
        table: String,
        chain: String,
    },
    /// It is dropped unless a rule accepts it whose condition is not known here.
    Unknown {
        table: String,
        chain: String,
    },
}

/// How the walk through a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    /// At its end, or by `return`.
    Back,
}

/// All rules of a host.
#[derive(Debug)]
pub(super) struct Rules {
    objects: Vec<Value>,
}

impl Rules {
    pub(super) fn parse(json: &[u8]) -> Option<Rules> {
        let whole: Value = serde_json::from_slice(json).ok()?;
        Some(Rules { objects: whole.get("nftables")?.as_array()?.clone() })
    }

    /// Every base chain that sees incoming packets has to accept it.
    pub(super) fn verdict(&self, packet: &Packet<'_>) -> Verdict {
        let mut unknown = None;
        for chain in self.objects.iter().filter_map(|object| object.get("chain")) {
            let is_input = text(chain, "hook") == "input" && matches!(text(chain, "family"), "inet" | "ip");
            if !is_input {
                continue;
            }
            let (family, table, name) = (text(chain, "family"), text(chain, "table"), text(chain, "name"));
            let mut walk = Walk { rules: self, packet, family, table, may_be_accepted: false };
            let end = walk.chain(name, 0);
            let is_dropped = end == End::Drop || end == End::Back && text(chain, "policy") == "drop";
            if !is_dropped {
                continue;
            }
            let (table, chain) = (format!("{family} {table}"), name.to_owned());
            match walk.may_be_accepted {
                true => unknown = Some(Verdict::Unknown { table, chain }),
                false => return Verdict::Drop { table, chain },
            }
        }
        unknown.unwrap_or(Verdict::Accept)
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A packet on its way through the chains of one table.
struct Walk<'a> {
    rules: &'a Rules,
    packet: &'a Packet<'a>,
    family: &'a str,
    table: &'a str,
    /// A rule with a condition that is not known here would accept it.
    may_be_accepted: bool,
}

impl<'a> Walk<'a> {
    fn objects(&self, kind: &'static str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let (family, table) = (self.family, self.table);
        let own = move |object: &&Value| text(object, "family") == family && text(object, "table") == table;
        self.rules.objects.iter().filter_map(move |object| object.get(kind)).filter(own)
    }

    fn chain(&mut self, name: &str, depth: usize) -> End {
        if depth > DEEPEST {
            return End::Back;
        }
        for rule in self.objects("rule").filter(|rule| text(rule, "chain") == name) {
            let statements =
                rule.get("expr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            match self.rule(statements, depth) {
                Some(End::Back) => return End::Back,
                Some(end) => return end,
                None => {}
            }
        }
        End::Back
    }

    /// The end of the chain by this rule; `None` where the next one follows.
    fn rule(&mut self, statements: &[Value], depth: usize) -> Option<End> {
        let mut is_certain = true;
        for statement in statements {
            if let Some(condition) = statement.get("match") {
                match self.matches(condition) {
                    Some(true) => {}
                    Some(false) => return None,
                    None => is_certain = false,
                }
            } else if let Some(map) = statement.get("vmap") {
                let Some(found) = self.mapped(map) else {
                    // What the map has for the packet is not known here: it may be a verdict that accepts it.
                    self.may_be_accepted = true;
                    return None;
                };
                let verdict = found?.clone();
                return self.end(&verdict, is_certain, depth);
            } else if statement.get("limit").is_some() || statement.get("xt").is_some() {
                is_certain = false;
            } else if let Some(end) = self.end(statement, is_certain, depth) {
                return Some(end);
            }
        }
        None
    }

    /// What a verdict statement does.
    fn end(&mut self, statement: &Value, is_certain: bool, depth: usize) -> Option<End> {
        let (name, argument) = statement.as_object()?.iter().next()?;
        match name.as_str() {
            "accept" if is_certain => Some(End::Accept),
            "accept" => {
                self.may_be_accepted = true;
                None
            }
            "drop" | "reject" if is_certain => Some(End::Drop),
            "return" if is_certain => Some(End::Back),
            "jump" | "goto" => {
                let before = self.may_be_accepted;
                let end = self.chain(text(argument, "target"), depth + 1);
                match end {
                    // Whether the chain is entered at all is not known.
                    End::Accept if !is_certain => self.may_be_accepted = true,
                    End::Drop if !is_certain => self.may_be_accepted = before,
                    End::Accept | End::Drop => return Some(end),
                    End::Back if name == "goto" && is_certain => return Some(End::Back),
                    End::Back => {}
                }
                None
            }
            _ => None,
        }
    }

    /// The verdict that a map has for the packet, if it has one; `None` where that is not known, as of a map with a name.
    fn mapped<'m>(&self, map: &'m Value) -> Option<Option<&'m Value>> {
        let pairs = map.get("data")?.get("set")?.as_array()?;
        let key = map.get("key")?;
        let mut is_certain = true;
        for pair in pairs {
            let [value, verdict] = pair.as_array()?.as_slice() else { return None };
            match self.is_one_of(key, value) {
                Some(true) => return Some(Some(verdict)),
                Some(false) => {}
                None => is_certain = false,
            }
        }
        is_certain.then_some(None)
    }

    /// Whether a condition holds; `None` where that is not known.
    fn matches(&self, condition: &Value) -> Option<bool> {
        let holds = self.is_one_of(condition.get("left")?, condition.get("right")?)?;
        match text(condition, "op") {
            "==" | "in" => Some(holds),
            "!=" => Some(!holds),
            _ => None,
        }
    }

    fn is_one_of(&self, what: &Value, values: &Value) -> Option<bool> {
        let transport = self.packet.transport.to_string();
        if let Some(payload) = what.get("payload") {
            return match (text(payload, "protocol"), text(payload, "field")) {
                ("th", "dport") => self.holds(values, &Value::from(self.packet.port)),
                (protocol @ ("udp" | "tcp"), "dport") => match protocol == transport {
                    true => self.holds(values, &Value::from(self.packet.port)),
                    false => Some(false),
                },
                (protocol @ ("udp" | "tcp" | "icmp" | "icmpv6" | "sctp"), _) if protocol != transport => {
                    Some(false)
                }
                ("ip", "protocol") => self.holds(values, &Value::from(transport)),
                ("ip6", _) => Some(false),
                _ => None,
            };
        }
        if let Some(meta) = what.get("meta") {
            return match text(meta, "key") {
                "l4proto" => self.holds(values, &Value::from(transport)),
                "nfproto" => self.holds(values, &Value::from("ipv4")),
                "iifname" | "iif" => self.holds(values, &Value::from(self.packet.interface?)),
                _ => None,
            };
        }
        match text(what.get("ct")?, "key") {
            "state" => self.holds(values, &Value::from("new")),
            _ => None,
        }
    }

    /// Whether `value` is among what stands on the right of a condition; `None` for forms that are not known.
    fn holds(&self, values: &Value, value: &Value) -> Option<bool> {
        match values {
            Value::Array(all) => self.any(all, value),
            Value::String(name) if name.starts_with('@') => {
                let set =
                    self.objects("set").find(|set| Some(text(set, "name")) == name.strip_prefix('@'))?;
                self.any(
                    set.get("elem").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default(),
                    value,
                )
            }
            // `iifname "eth*"`
            Value::String(pattern) if pattern.ends_with('*') => {
                Some(value.as_str()?.starts_with(pattern.trim_end_matches('*')))
            }
            Value::String(_) | Value::Number(_) => Some(values == value),
            Value::Object(object) => {
                if let Some(set) = object.get("set") {
                    return self.holds(set, value);
                }
                if let Some(element) = object.get("elem") {
                    return self.holds(element.get("val")?, value);
                }
                let range = object.get("range")?.as_array()?;
                let number = value.as_u64()?;
                Some(range.first()?.as_u64()? <= number && number <= range.get(1)?.as_u64()?)
            }
            Value::Null | Value::Bool(_) => None,
        }
    }

    fn any(&self, all: &[Value], value: &Value) -> Option<bool> {
        let each: Vec<Option<bool>> = all.iter().map(|one| self.holds(one, value)).collect();
        if each.contains(&Some(true)) {
            return Some(true);
        }
        if each.contains(&None) { None } else { Some(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of a table `inet filter` whose chain `input` drops what none of them accepts.
    fn verdict(rules: &str, transport: Transport, port: u16) -> Verdict {
        let text = format!(
            r#"{{"nftables": [{{"metainfo": {{}}}}, {{"table": {{"family": "inet", "name": "filter"}}}},
            {{"chain": {{"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop"}}}},
            {{"set": {{"family": "inet", "table": "filter", "name": "boot", "elem": [67, {{"elem": {{"val": 69}}}}, {{"range": [4000, 4020]}}]}}}}
            {rules}]}}"#
        );
        let rules = Rules::parse(text.as_bytes()).unwrap();
        rules.verdict(&Packet { transport, port, interface: Some("eth1") })
    }

    fn rule(chain: &str, statements: &str) -> String {
        format!(
            r#", {{"rule": {{"family": "inet", "table": "filter", "chain": "{chain}", "expr": [{statements}]}}}}"#
        )
    }

    fn is(left: &str, right: &str) -> String {
        format!(r#"{{"match": {{"op": "==", "left": {left}, "right": {right}}}}}"#)
    }

    const UDP: &str = r#"{"payload": {"protocol": "udp", "field": "dport"}}"#;
    const IIF: &str = r#"{"meta": {"key": "iifname"}}"#;
    const FROM: &str = r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#;
    const ACCEPT: &str = r#"{"accept": null}"#;

    fn dropped() -> Verdict {
        Verdict::Drop { table: "inet filter".into(), chain: "input".into() }
    }

    #[test]
    fn ports_sets_and_ranges_are_compared() {
        let rules = rule("input", &format!("{}, {{\"counter\": null}}, {ACCEPT}", is(UDP, "\"@boot\"")));
        for (port, expected) in
            [(67, Verdict::Accept), (69, Verdict::Accept), (4011, Verdict::Accept), (80, dropped())]
        {
            assert_eq!(verdict(&rules, Transport::Udp, port), expected, "{port}");
        }
        assert_eq!(verdict(&rules, Transport::Tcp, 67), dropped());
        assert_eq!(verdict("", Transport::Udp, 67), dropped());
    }

    #[test]
    fn interfaces_states_and_chains_are_followed() {
        let on = |name: &str| rule("input", &format!("{}, {ACCEPT}", is(IIF, &format!("\"{name}\""))));
        assert_eq!(verdict(&on("eth1"), Transport::Tcp, 80), Verdict::Accept);
        assert_eq!(verdict(&on("eth*"), Transport::Tcp, 80), Verdict::Accept);
        assert_eq!(verdict(&on("eth0"), Transport::Tcp, 80), dropped());
        let established = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}"#;
        assert_eq!(
            verdict(&rule("input", &format!("{established}, {ACCEPT}")), Transport::Tcp, 80),
            dropped()
        );
        let jump = rule("input", r#"{"jump": {"target": "boot"}}"#)
            + &rule("boot", &format!("{}, {ACCEPT}", is(UDP, "69")));
        assert_eq!(verdict(&jump, Transport::Udp, 69), Verdict::Accept);
        assert_eq!(verdict(&jump, Transport::Udp, 67), dropped());
        let map = r#"{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["lo", {"accept": null}], ["eth1", {"jump": {"target": "boot"}}]]}}}"#;
        let map = rule("input", map) + &rule("boot", ACCEPT);
        assert_eq!(verdict(&map, Transport::Udp, 67), Verdict::Accept);
        let ring = rule("input", r#"{"jump": {"target": "a"}}"#) + &rule("a", r#"{"jump": {"target": "a"}}"#);
        assert_eq!(verdict(&ring, Transport::Udp, 67), dropped());
    }

    #[test]
    fn what_cannot_be_judged_is_unknown_and_not_open() {
        let from = rule("input", &format!("{}, {ACCEPT}", is(FROM, "\"10.0.0.1\"")));
        assert!(matches!(verdict(&from, Transport::Udp, 67), Verdict::Unknown { .. }));
        let extension =
            rule("input", &format!(r#"{{"xt": {{"type": "match", "name": "multiport"}}}}, {ACCEPT}"#));
        assert!(matches!(verdict(&extension, Transport::Udp, 67), Verdict::Unknown { .. }));
        // A map with a name, and one by two things at once.
        for map in [
            r#"{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}"#,
            r#"{"vmap": {"key": {"concat": [{"meta": {"key": "iifname"}}, {"payload": {"protocol": "udp", "field": "dport"}}]},
                "data": {"set": [[{"concat": ["eth1", 67]}, {"accept": null}]]}}}"#,
        ] {
            let found = verdict(&rule("input", map), Transport::Udp, 67);
            assert!(matches!(found, Verdict::Unknown { .. }), "{map}: {found:?}");
        }
        let closed = rule("input", &format!("{}, {{\"drop\": null}}", is(UDP, "67"))) + &from;
        assert_eq!(verdict(&closed, Transport::Udp, 67), dropped());
        assert!(Rules::parse(b"").is_none() && Rules::parse(b"{}").is_none());
    }
}
