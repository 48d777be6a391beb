use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Host {
    name: String,
    phase: Option<String>,
    cores: u64,
    macs: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl Row for Host {
    const COLUMNS: &'static [&'static str] = &[];
    const HAS_LABELS: bool = true;

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.labels)
    }

    fn cells(&self) -> Vec<String> {
        Vec::new()
    }
}

fn hosts(after: Option<&str>) -> impl Iterator<Item = Host> + use<> {
    let after = after.map(str::to_owned);
    let host = |number: u64| Host {
        name: format!("h{number}"),
        phase: (!number.is_multiple_of(3)).then(|| ["failed", "installed"][number as usize % 2].to_owned()),
        cores: number * 7 % 20,
        macs: vec![format!("52:54:00:00:00:0{number}"), format!("aa:54:00:00:00:0{number}")],
        labels: [("rack".to_owned(), format!("r{}", number % 2))].into(),
    };
    (0..9).map(host).filter(move |host| after.as_ref().is_none_or(|after| host.name > *after))
}

fn wanted(query: &str) -> Result<Wanted, String> {
    Wanted::read::<Host>(&format!("/v1/hosts?{query}").parse().unwrap())
}

/// The names, and whether there are more.
fn page(query: &str) -> (String, Option<(String, String)>) {
    let wanted = wanted(query).unwrap();
    let (rows, next) = wanted.page(hosts(wanted.after()));
    let names: Vec<&str> = rows.iter().map(|row| &*row.name).collect();
    (names.join(" "), next)
}

#[test]
fn rows_are_chosen_by_labels_and_fields() {
    for (query, names) in [
        ("", "h0 h1 h2 h3 h4 h5 h6 h7 h8"),
        ("label=rack=r1", "h1 h3 h5 h7"),
        ("label=rack!=r1,rack", "h0 h2 h4 h6 h8"),
        ("label=!rack", ""),
        ("label=role!=web&name=h1,h2", "h1 h2"),
        ("phase=installed", "h1 h5 h7"),
        ("phase=", "h0 h3 h6"),
        ("phase=inst*,f?iled&cores=1*", "h2 h5 h8"),
        ("macs=aa:*3", "h3"),
        ("sort=cores", "h0 h3 h6 h1 h4 h7 h2 h5 h8"),
        ("sort=-cores&limit=2", "h8 h5"),
        ("sort=phase&name=h1,h2,h3", "h3 h2 h1"),
    ] {
        assert_eq!(page(query).0, names, "{query}");
    }
}

#[test]
fn pages_follow_each_other_whatever_the_order() {
    for order in ["", "sort=cores&", "sort=-phase&", "label=rack=r0&"] {
        let whole = page(&order.replace("sort=", "limit=9&sort=")).0;
        for limit in 1..=9 {
            let (mut all, mut query) = (Vec::new(), format!("{order}limit={limit}"));
            loop {
                let (names, next) = page(&query);
                all.push(names);
                let Some(next) = next else { break };
                let uri = format!("/v1/hosts?{query}").parse().unwrap();
                let link = link(&uri, &next).unwrap();
                let link = link.to_str().unwrap();
                query = link
                    .strip_prefix("</v1/hosts?")
                    .unwrap()
                    .strip_suffix(">; rel=\"next\"")
                    .unwrap()
                    .to_owned();
            }
            assert_eq!(all.join(" "), whole, "{order} by {limit}");
        }
    }
}

#[test]
fn no_more_rows_are_made_than_are_shown() {
    let wanted = wanted("limit=2").unwrap();
    let mut made = 0;
    let (rows, next) = wanted.page(hosts(None).inspect(|_| made += 1));
    assert_eq!((rows.len(), made, next.map(|(_, key)| key)), (2, 3, Some("h1".to_owned())));
}

#[test]
fn a_row_has_the_fields_that_are_wanted() {
    let wanted = wanted("fields=cores,name&limit=1").unwrap();
    let (rows, _) = wanted.page(hosts(None));
    assert_eq!(wanted.body(&rows).unwrap(), br#"[{"cores":0,"name":"h0"}]"#);
}

#[test]
fn mistakes_are_named() {
    for (query, part) in [
        ("sort=core", "there is no field `core`: there are cores, labels, macs, name, phase"),
        ("fields=name,x", "there is no field `x`"),
        ("limit=0", "limit: `0` is no number from 1 to 10000"),
        ("limit=many", "limit: `many`"),
        ("label=", "`` names no label"),
        ("label==x", "`=x` names no label"),
        ("continue=h3", "continue: this is no end of a page"),
    ] {
        let why = wanted(query).unwrap_err();
        assert!(why.contains(part), "{query}: {why}");
    }
}

#[test]
fn every_simple_field_is_a_parameter() {
    let route = Route::get("/v1/hosts", "").lists::<Host>();
    let names: Vec<&str> = route.parameters.iter().map(|parameter| &*parameter.name).collect();
    let all = ["limit", "continue", "sort", "fields", "label", "cores", "macs", "name", "phase"];
    assert_eq!(names, all, "labels have a parameter of their own");
}

/// A row that says when a field of it is read that nobody asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Slow {
    name: String,
    #[serde(serialize_with = "unwanted")]
    text: String,
}

fn unwanted<S: serde::Serializer>(_: &String, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("nobody asked for this"))
}

impl Row for Slow {
    const COLUMNS: &'static [&'static str] = &[];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn a_sorted_page_reads_the_field_that_it_is_sorted_by_alone() {
    let wanted = Wanted::read::<Slow>(&"/v1/slow?sort=-name&name=s*&limit=2".parse().unwrap()).unwrap();
    let rows = (0..1000).map(|number| Slow { name: format!("s{number:03}"), ..Slow::default() });
    let (rows, next) = wanted.page(rows);
    let names: Vec<&str> = rows.iter().map(|row| &*row.name).collect();
    assert_eq!((names, next.is_some()), (vec!["s999", "s998"], true));
}

#[test]
fn what_takes_a_pass_is_known_before() {
    for (query, page) in [
        ("limit=5", true),
        ("limit=1000&fields=name&continue=x", true),
        ("", false),
        ("limit=1001", false),
        ("limit=5&sort=name", false),
        ("limit=5&phase=failed", false),
    ] {
        assert_eq!(Wanted::is_page(&format!("/v1/hosts?{query}").parse().unwrap()), page, "{query}");
    }
}
