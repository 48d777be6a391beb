use super::*;

fn values(pairs: &[(&str, Value)]) -> Values {
    pairs.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn some() -> Values {
    let user = |name: &str| {
        Value::Table(BTreeMap::from([
            ("name".to_owned(), text(name)),
            ("uid".to_owned(), Value::Integer(1000)),
        ]))
    };
    values(&[
        ("hostname", text("web-1")),
        ("root_hash", Value::Secret("root-password".to_owned())),
        ("users", Value::List(vec![user("ops"), user("dev")])),
        ("packages", Value::List(vec![text("nginx"), text("openssh-server")])),
        ("none", Value::List(Vec::new())),
        ("blank_text", text("")),
        ("debug", Value::Boolean(false)),
    ])
}

fn secrets(name: &str) -> Option<String> {
    (name == "root-password").then(|| "$6$salt$hash".to_owned())
}

fn render(source: &str) -> Result<String, RenderError> {
    Text::parse(source)?.render(&some(), &secrets)
}

#[track_caller]
fn fails(source: &str, line: u32, column: u32, message: &str) {
    let error = render(source).expect_err(source);
    assert_eq!((error.line, error.column), (line, column), "{error}");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn a_text_without_tags_is_itself() {
    let source = "awk '{print $1}' ${arr[@]} ${#x} $((1+2)) {# x #} %packages { }";
    assert_eq!(render(source).unwrap(), source);
    assert!(Text::parse(source).unwrap().variables().is_empty());
}

#[test]
fn fills_in() {
    assert_eq!(render("h={{ hostname }} {{root_hash}}").unwrap(), "h=web-1 $6$salt$hash");
    assert_eq!(render("{{ packages | join: ' ' | upcase }}").unwrap(), "NGINX OPENSSH-SERVER");
    let looped = "{% for user in users %}{{ forloop.index }}:{{ user.name }}{% unless forloop.last %},{% endunless %}{% endfor %}";
    assert_eq!(render(looped).unwrap(), "1:ops,2:dev");
    assert_eq!(
        render("{{ users[1].name }}{{ users['0']['name'] }}{{ users.first.uid }}").unwrap(),
        "devops1000"
    );
    assert_eq!(
        render("{% case hostname %} {% when 'a', 'web-1' %}yes{% else %}no{% endcase %}").unwrap(),
        "yes"
    );
    assert_eq!(render("{% assign a = hostname | append: '!' %}{{ a }}").unwrap(), "web-1!");
    assert_eq!(
        render("{% capture a %}<{{ hostname }}>{% endcapture %}{{ a }}{{ a }}").unwrap(),
        "<web-1><web-1>"
    );
    assert_eq!(
        render("{% if none.size > 0 or debug %}a{% elsif hostname == 'x' %}b{% else %}c{% endif %}").unwrap(),
        "c"
    );
    assert_eq!(
        render("{% for i in (1..3) reversed %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}")
            .unwrap(),
        "31"
    );
}

#[test]
fn trims_where_a_dash_asks() {
    assert_eq!(render("a \n {{- hostname -}} \n b").unwrap(), "aweb-1b");
    assert_eq!(render("a\n{%- if debug -%} x {%- endif %}\n").unwrap(), "a\n");
    assert_eq!(render("{ {{- hostname }}").unwrap(), "{web-1");
    assert_eq!(render("$ {% raw -%} {{ x }} {%- endraw %}").unwrap(), "$ {{ x }}");
}

#[test]
fn raw_and_comment_are_not_read() {
    assert_eq!(
        render("{% raw %}{{.State}} {% for %}{% endraw %}{{ hostname }}").unwrap(),
        "{{.State}} {% for %}web-1"
    );
    assert_eq!(render("a{% comment %}{{ nobody }} {% x {% endcomment %}b").unwrap(), "ab");
    fails("{% raw %} {{ x }}", 1, 1, "not closed");
}

#[test]
fn an_unknown_variable_has_its_place() {
    fails("a\nb {{ hostnam }}", 2, 6, "unknown variable `hostnam`; did you mean `hostname`?");
    fails("ä {{ root-hash }}", 1, 6, "did you mean `root_hash`?");
    fails(
        "{% if true %}\n  {{ hostname\n   | append:\n    zebra }}{% endif %}",
        4,
        5,
        "unknown variable `zebra`",
    );
    fails("{% if debug %}{% if zebra %}{% endif %}{% endif %}", 1, 21, "unknown variable `zebra`");
    fails("{% if debug %}{% assign late = 1 %}{% endif %}\n{{ late }}", 2, 4, "unknown variable `late`");
    fails("{% for u in users %}{% endfor %}\n{{ u.name }}", 2, 4, "unknown variable `u`");
}

#[test]
fn an_unknown_member_has_its_place() {
    let source = "{% for user in users %}\n{{ user.name }} {{ user.nmae }}\n{% endfor %}";
    fails(source, 2, 25, "`user` has no member `nmae`; did you mean `name`?");
    fails("{{ users[0].name }}\n{{ users[7].name }}", 2, 10, "has no member `7`");
    fails(
        "{% if debug %}{% elsif users[0].zebra == 1 %}{% endif %}",
        1,
        33,
        "no member `zebra`; there are name, uid",
    );
    fails("{% case hostname %}{% when users.first.zebra %}{% endcase %}", 1, 40, "no member `zebra`");
    assert_eq!(render("{% if users[0].sudo %}a{% else %}b{% endif %}").unwrap(), "b");
}

#[test]
fn finds_what_is_free() {
    let source = "{{ a }}{% assign b = c | append: d %}{{ b }}\n{% for e in f limit: g %}{{ e.x[h] }}{{ forloop.index }}{% endfor %}{% if a == i and j contains 'k' %}{% endif %}";
    let text = Text::parse(source).unwrap();
    let names: Vec<&str> = text.variables().iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["a", "c", "d", "f", "g", "h", "a", "i", "j"]);
    let first = &text.variables()[3];
    assert_eq!((first.line, first.column), (2, 13));
    assert!(text.uses("h") && !text.uses("b") && !text.uses("e") && !text.uses("x"));
}

#[test]
fn mistakes_have_their_place() {
    fails("a\n {{ hostname", 2, 13, "the template ends where `}}` is expected");
    fails("{{.State}}", 1, 3, "{% raw %}");
    fails("x {%packages%}", 1, 5, "unknown tag `packages`");
    fails("{{ hostname | shel }}", 1, 15, "unknown filter `shel`");
    fails("{% if debug %}\n{% for a in users %}", 2, 4, "this `for` is not closed");
    fails("{% if debug %}{% endfor %}", 1, 18, "`endfor` found where `endif` is expected");
    fails("{% else %}", 1, 4, "nothing this `else` belongs to");
    fails("{% endif %}", 1, 4, "nothing is open");
    fails("{{ 99999999999999999999 }}", 1, 4, "64 bits");
    fails("{{ nullable }}", 1, 4, "`null`");
    fails("{{ 'abc }}", 1, 4, "closing quote");
    fails("{{ hostname hostname }}", 1, 13, "`}}` expected");
    fails("{{{ hostname }}}", 1, 3, "unexpected `{`");
    fails("{% include 'x' %}", 1, 4, "include");
    fails("{% break %}", 1, 4, "belongs into a `for`");
    fails("a {{ hostname | truncate: 1, 2, 3, 4 }}", 1, 3, "");
    fails("{% case debug %} x {% when 1 %}{% endcase %}", 1, 17, "no branch");
}

#[test]
fn a_filter_says_what_it_minds() {
    fails("a\n{{ packages | shq }}", 2, 1, "takes a text, not a list");
    fails("{{ 'a\nb' | line }}", 1, 1, "line break");
    fails("{{ hostname | divided_by: 0 }}", 1, 1, "");
    fails("{{ hostname | replace: '', 'x' }}", 1, 1, "empty text");
}

#[test]
fn secrets_come_by_the_callback_and_stay_out_of_errors() {
    let text = Text::parse("a\n {{ root_hash }}").unwrap();
    let error = text.render(&some(), &|_| None).unwrap_err();
    assert_eq!((error.line, error.column), (2, 5));
    assert!(error.message.contains("`root-password`"), "{error}");
    assert!(Text::parse("{{ hostname }}").unwrap().render(&some(), &|_| None).is_ok());
    for source in ["{{ users[root_hash] }}", "{{ root_hash | divided_by: 2 }}", "{{ root_hash.nobody }}"] {
        let error = Text::parse(source).unwrap().render(&some(), &secrets).unwrap_err();
        assert!(!error.message.contains("$6$"), "{error}");
    }
}

#[test]
fn nothing_runs_for_ever() {
    for source in [
        "{% for a in (1..999999999) %}{% endfor %}",
        "{% for a in (-9223372036854775808..9223372036854775807) %}{% endfor %}",
        "{% for a in (1..9999) %}{% for b in (1..9999) %}{% for c in (1..9999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in (1..9999) %}{% for b in (1..9999) %}{% if debug %}{% endif %}{% endfor %}{% endfor %}",
        "{% for a in (1..9999) %}{% for b in (1..9999) %}0123456789{% endfor %}{% endfor %}",
        "{% assign a = 'ab' %}{% for i in (1..64) %}{% assign a = a | append: a %}{% endfor %}",
        "{% assign a = 'ab' %}{% for i in (1..64) %}{% capture a %}{{ a }}{{ a }}{% endcapture %}{% endfor %}",
        "{% assign a = 'aaaa' %}{% for i in (1..64) %}{% assign a = a | replace: 'a', a %}{% endfor %}",
        "{% assign a = 'a,a,a,a' %}{% for i in (1..64) %}{% assign a = a | split: ',' | join: a %}{% endfor %}",
        "{% assign a = 'a' %}{% for i in (1..19) %}{% assign a = a | append: a %}{% endfor %}{% for i in (1..9999) %}{{ a }}{% endfor %}",
        "{% assign a = 'a' %}{% for i in (1..19) %}{% assign a = a | append: a %}{% endfor %}{% for i in (1..9999) %}{% assign b = a | upcase %}{% endfor %}",
    ] {
        let error = render(source).expect_err(source);
        let known = ["range has at most", "runs too long", "over 16 MiB", "over 1 MiB"];
        assert!(known.iter().any(|known| error.message.contains(known)), "{source}: {error}");
    }
}

#[test]
fn nesting_is_bounded_and_nothing_panics() {
    let deep = "{% if debug %}".repeat(100_000);
    assert!(Text::parse(deep).is_err());
    let chain = format!("{{% if debug %}}{}{{% endif %}}", "{% elsif debug %}".repeat(5_000));
    assert!(Text::parse(chain).is_err());
    assert!(Text::parse(format!("{{{{ a{} }}}}", "[a".repeat(50_000))).is_err());
    assert!(Text::parse(format!("{{% if debug{} %}}{{% endif %}}", " and debug".repeat(50_000))).is_err());
    assert!(Text::parse(format!("{{{{ a{} }}}}", ".b".repeat(50_000))).is_err());
    assert!(Text::parse(format!("{{{{ a{} }}}}", "[b]".repeat(50_000))).is_err());
    assert!(Text::parse("{{a}}".repeat(30_000)).is_err());
    assert!(Text::parse(format!("{{{{a}}}}{}", "x".repeat(2 << 20))).is_err());
    for source in [
        "{{",
        "{%",
        "{{-",
        "{%-",
        "{{}}",
        "{%%}",
        "{{ a.",
        "{{ a[",
        "{% for",
        "{% assign a",
        "{% raw",
        "{{ a | ",
        "{{ 'ä",
        "{{ é }}",
        "{% capture a.b %}{% endcapture %}",
        "{% _at 0 %}",
        "{{ -",
        "{{ +1 }}{{ 1.5 }}{{ -2 }}{",
    ] {
        let _ = render(source);
    }
}

#[test]
fn clones_share_and_may_cross_threads() {
    fn fits<T: Clone + Send + Sync>(text: T) -> T {
        text
    }
    let text = fits(Text::parse("{{ hostname }}").unwrap());
    let clone = text.clone();
    assert!(Arc::ptr_eq(&text.0, &clone.0));
    assert_eq!(clone.render(&some(), &secrets).unwrap(), "web-1");
}

proptest::proptest! {
    #[test]
    fn any_soup_of_tags_is_parsed_or_refused(pieces in proptest::collection::vec(
        proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "-", " ", "\n", "hostname", "users", ".name", "[0]", "|", "shq", ":", "'", "\"",
            "if", "endif", "for", "in", "endfor", "raw", "endraw", "(1..3)", "==", "1", "ä", "case", "when", "else", ",",
        ]), 0..24))
    {
        let _ = render(&pieces.concat());
    }

    #[test]
    fn filling_in_is_what_the_engine_does(pieces in proptest::collection::vec(
        proptest::sample::select(vec!["{{ a }}", "{{b}}", "{{- c -}}", "{{ d }}", " x ", "\n", "{", "}}", "ä", "{{ e }}"]), 0..20),
        text in ".{0,12}", number in proptest::num::i64::ANY, truth in proptest::bool::ANY)
    {
        let source = pieces.concat();
        let values = Values::from([
            ("a".to_owned(), Value::String(text)),
            ("b".to_owned(), Value::Integer(number)),
            ("c".to_owned(), Value::Boolean(truth)),
            ("d".to_owned(), Value::String(String::new())),
            ("e".to_owned(), Value::List(vec![Value::Integer(number), Value::Boolean(truth)])),
        ]);
        let Ok(parsed) = Text::parse(source.clone()) else { return Ok(()) };
        if let Some(program) = &parsed.0.program {
            let uses = parsed.variables();
            let engine = program.execute(&source, uses, Scope::of(&values), &secrets);
            proptest::prop_assert_eq!(program.run(&source, uses, Scope::of(&values), &secrets), engine);
        }
    }

    #[test]
    fn what_is_not_a_tag_comes_back(source in "[a-z%{} \n]{0,40}") {
        if !source.contains("{{") && !source.contains("{%") {
            proptest::prop_assert_eq!(render(&source).unwrap(), source);
        }
    }
}
