use axum::body::Body;

use super::*;
use crate::model::AuditEntry;

struct Nowhere;

impl audit::Ledger for Nowhere {
    fn add(&self, _: AuditEntry) -> io::Result<u64> {
        Ok(1)
    }
}

#[derive(Debug)]
struct Called(&'static str);

impl Names for Called {
    fn has(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(self.0)
    }
}

fn access() -> Access {
    Access {
        routes: vec![
            Route::get("/healthz", "").open(),
            Route::post("/hooks/{name}", "").open().any_parameters(),
            Route::get("/v1/status", ""),
            Route::get("/v1/machines", ""),
            Route::get("/metrics", ""),
            Route::get("/v1/events", "").parameter::<u64>("after", "").parameter::<u64>("wait", ""),
            Route::post("/v1/plan", "").needs(Role::Viewer),
            Route::post("/v1/apply", ""),
            Route::post("/v1/edits", "").judges_pools(),
            Route::delete("/v1/effects/{id}", ""),
            Route::post("/v1/serve-dhcp/{interface}", "").needs(Role::Admin),
        ],
        addresses: vec!["127.0.0.5:12345".parse().unwrap()],
        names: Arc::new(Called("boot.example.org")),
        token: Some(Sha256::digest("right").into()),
        viewer_token: None,
        network: None,
        audit: Audit::new(Arc::new(Nowhere)),
        quotas: Arc::default(),
    }
}

/// A state with a token that ends at 100, and one of each role.
fn state() -> state::State {
    let token = |name: &str, role, expires| {
        let name: crate::model::Name = name.parse().unwrap();
        let digest = Sha256::digest(name.as_str()).into();
        let token = ApiToken {
            name,
            id: 1,
            digest,
            role,
            pools: Vec::new(),
            by: None,
            created: Time(1),
            expires,
            used: None,
        };
        (token.name.clone(), Arc::new(token))
    };
    let roles = Role::ALL.map(|role| token(&format!("vdm-{role}"), role, None));
    let short = token("short", Role::Viewer, Some(Time(100)));
    let (name, bound) = token("bound", Role::Admin, None);
    let pools = vec!["blue".parse().unwrap()];
    let bound = (name, Arc::new(ApiToken { pools, ..(*bound).clone() }));
    let server = state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST);
    state::State::new(server)
        .with_lasting(|lasting| lasting.tokens = roles.into_iter().chain([short, bound]).collect())
}

fn code(peer: Peer, method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
    match admitted(peer, method, uri, headers, Time(50)) {
        Ok(_) => 200,
        Err(answer) => answer.status().as_u16(),
    }
}

fn admitted(
    peer: Peer,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    now: Time,
) -> Result<Option<Admitted>, Response> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (access, request) = (access(), request.body(Body::empty()).unwrap());
    // As the router matches: a variable is the last part of the path here.
    let path = request.uri().path();
    let matches = |route: &&Route| match route.path.split_once('{') {
        Some((before, _)) => path.starts_with(before),
        None => route.path == path,
    };
    let path = access.routes.iter().find(matches).map(|route| route.path.clone()).unwrap_or_default();
    let route = Route::find(&access.routes, request.method(), &path);
    access.admitted(&request, route, peer, Present { state: &state(), now })
}

const NEAR: Peer = Peer::Network(IpAddr::V4(Ipv4Addr::LOCALHOST));
const ADMIN: Peer = Peer::Socket { uid: 0, role: Some(Role::Admin) };
const VIEWER: Peer = Peer::Socket { uid: 7, role: Some(Role::Viewer) };
const EDITOR: Peer = Peer::Socket { uid: 8, role: Some(Role::Editor) };
const NOBODY: Peer = Peer::Socket { uid: 9, role: None };

#[test]
fn hosts_are_ours_or_refused() {
    let token = ("authorization", "Bearer right");
    let host = |host: &str| code(NEAR, "GET", "/v1/status", &[("host", host), token]);
    for own in [
        "localhost",
        "LOCALHOST:9",
        "127.0.0.1:12345",
        "[::1]:1",
        "127.0.0.5",
        "127.9.9.9",
        "boot.example.org:12345",
    ] {
        assert_eq!(host(own), 200, "{own}");
    }
    for other in [
        "evil.example",
        "evil.example:12345",
        "10.0.0.1",
        "localhost.evil.example",
        "boot.example.org.evil.example",
        "[::2]",
        "localhost,evil",
    ] {
        assert_eq!(host(other), 421, "{other}");
    }
    for odd in ["", " ", "a b", "user@localhost", "http://localhost/", ":12345"] {
        assert_eq!(host(odd), 400, "{odd}");
    }
    let two = [("host", "localhost"), ("host", "localhost"), token];
    assert_eq!(code(NEAR, "GET", "/v1/status", &two), 400);
    assert_eq!(code(NEAR, "GET", "/v1/status", &[token]), 400);
    let absolute = "http://evil.example/v1/status";
    assert_eq!(code(NEAR, "GET", absolute, &[("host", "localhost"), token]), 421);
    assert_eq!(code(ADMIN, "GET", "/v1/status", &[("host", "voldemort")]), 200);
    assert_eq!(code(NEAR, "POST", "/hooks/x", &[("host", "hooks.example.org")]), 200);
}

#[test]
fn pages_in_a_browser_are_refused() {
    let own = [("host", "localhost"), ("authorization", "Bearer right")];
    for (name, value, status) in [
        ("origin", "http://localhost", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "none", 200),
    ] {
        let headers = [own[0], own[1], (name, value)];
        assert_eq!(code(NEAR, "GET", "/v1/status", &headers), status, "{name}: {value}");
    }
}

#[test]
fn nobody_is_trusted_for_being_near() {
    let with = |peer, method, path, token: Option<&'static str>| {
        let host = ("host", "localhost");
        match token {
            Some(token) => code(peer, method, path, &[host, ("authorization", token)]),
            None => code(peer, method, path, &[host]),
        }
    };
    for (token, status) in [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Bearer "), 401),
        (Some("right"), 401),
        (Some("Basic right"), 401),
        (Some("bearer right"), 200),
    ] {
        assert_eq!(with(NEAR, "POST", "/v1/apply", token), status, "{token:?}");
        assert_eq!(with(NEAR, "GET", "/metrics", token), status, "{token:?}");
        assert_eq!(with(NEAR, "GET", "/v1/nothing", token), status, "{token:?}");
    }
    assert_eq!(with(NOBODY, "GET", "/v1/status", Some("Bearer right")), 403);
    assert_eq!(with(ADMIN, "POST", "/v1/apply", None), 200);
    assert_eq!(with(VIEWER, "GET", "/v1/status", None), 200);
    assert_eq!(with(VIEWER, "POST", "/v1/plan", None), 200);
    assert_eq!(with(VIEWER, "POST", "/v1/apply", None), 403);
    assert_eq!(with(EDITOR, "POST", "/v1/serve-dhcp/eth0", None), 403);
    assert_eq!(with(ADMIN, "POST", "/v1/serve-dhcp/eth0", None), 200);
    assert_eq!(with(NEAR, "GET", "/healthz", None), 200);
    assert_eq!(with(NEAR, "POST", "/hooks/lab", None), 200);
    assert_eq!(with(NEAR, "GET", "/hooks/lab", None), 401, "only what is described is open");
}

#[test]
fn a_token_that_was_created_gives_its_role_until_it_ends() {
    let ask = |method, path, token: &str, now| {
        let token = format!("Bearer {token}");
        let headers = [("host", "localhost"), ("authorization", token.as_str())];
        admitted(NEAR, method, path, &headers, Time(now)).map_err(|answer| answer.status().as_u16())
    };
    let routes = [("GET", "/v1/status"), ("POST", "/v1/apply"), ("POST", "/v1/serve-dhcp/eth0")];
    for (route, needed) in routes.into_iter().zip([Role::Viewer, Role::Editor, Role::Admin]) {
        for role in Role::ALL {
            let found = ask(route.0, route.1, &format!("vdm-{role}"), 50).map(Option::unwrap);
            match role >= needed {
                true => {
                    let Admitted { caller, token } = found.unwrap();
                    assert_eq!(caller.to_string(), format!("token vdm-{role} ({role})"));
                    assert!(token.is_some_and(|token| token.role == role));
                }
                false => assert_eq!(found.unwrap_err(), 403, "{route:?} by {role}"),
            }
        }
    }
    assert!(ask("GET", "/v1/status", "short", 99).is_ok());
    assert_eq!(ask("GET", "/v1/status", "short", 100).unwrap_err(), 401);
    assert_eq!(ask("GET", "/v1/status", "shor", 99).unwrap_err(), 401);
    // The start's own token says nothing of those that were created.
    assert!(ask("GET", "/v1/status", "right", 99).unwrap().unwrap().token.is_none());
    let (access, state) = (access(), state());
    let present = Present { state: &state, now: Time(100) };
    let why = |token: &str| access.holder(token, present).unwrap_err();
    assert!(
        why("short").starts_with("the token short expired at 1970-01-01T00:00:00.100Z"),
        "{}",
        why("short")
    );
    assert_eq!(why("gone"), NO_TOKEN);
}

#[test]
fn a_token_of_pools_changes_only_what_is_judged_by_them() {
    for (method, path, status) in [
        ("GET", "/v1/machines", 200),
        ("HEAD", "/v1/machines", 200),
        ("POST", "/v1/plan", 200),
        ("POST", "/v1/edits", 200),
        ("POST", "/v1/apply", 403),
        ("DELETE", "/v1/effects/7", 403),
        ("POST", "/v1/serve-dhcp/eth0", 403),
        // What is no route today may be one tomorrow.
        ("DELETE", "/v1/machines", 403),
        ("PATCH", "/v1/edits", 403),
    ] {
        let headers = [("host", "localhost"), ("authorization", "Bearer bound")];
        assert_eq!(code(NEAR, method, path, &headers), status, "{method} {path}");
    }
}

#[test]
fn failures_of_one_address_are_limited_and_a_good_token_is_taken() {
    let (access, state) = (access(), state());
    let ask = |token: &str, from: [u8; 4]| {
        let request = Request::builder().uri("/v1/status").header("host", "localhost");
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        let route = Route::find(&access.routes, request.method(), "/v1/status");
        let present = Present { state: &state, now: Time(50) };
        match access.admitted(&request, route, Peer::Network(from.into()), present) {
            Ok(_) => 200,
            Err(answer) => answer.status().as_u16(),
        }
    };
    let bad = [192, 0, 2, 7];
    let said: Vec<u16> = (0..400).map(|_| ask("guess", bad)).collect();
    assert!(said.starts_with(&[401; 300]) && said.ends_with(&[429; 90]), "{said:?}");
    assert_eq!((ask("vdm-editor", bad), ask("right", bad)), (200, 200));
    assert_eq!(ask("guess", [192, 0, 2, 8]), 401, "others are not meant");
}

#[test]
fn a_parameter_is_known_or_refused() {
    let get = |uri| code(ADMIN, "GET", uri, &[("host", "localhost")]);
    assert_eq!((get("/v1/events?after=1&wait=2"), get("/v1/events?"), get("/v1/status")), (200, 200, 200));
    assert_eq!(
        (get("/v1/events?affter=1"), get("/v1/status?name=x"), get("/v1/machines?&a")),
        (400, 400, 400)
    );
}

/// What a daemon says of itself is answered at once; all else when it is known what is served.
#[test]
fn only_what_is_about_what_is_served_waits_for_it() {
    for path in ["/v1/deployments", "/v1/deployments/web-1", "/v1/orders", "/v1/none", "/hooks/main"] {
        assert!(asks_what_is_served(path), "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/v1/status", "/v1", "/none"] {
        assert!(!asks_what_is_served(path), "{path}");
    }
    let answer = restoring();
    assert_eq!(
        (answer.status(), &answer.headers()[RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
}
