use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc;

use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::agent::http::{Answer, NoAnswer, Request};
use crate::api::agent::{
    Certificate, CommandLine, DiskCertificate, DiskFacts, Order, OrderedDisk, Report, Samples, SignedOrder,
};
use crate::model::{WipeLevel, base64};

/// The daemon of a test: what it answers next, and what it got.
#[derive(Default)]
struct Daemon {
    answers: VecDeque<(&'static str, Option<Answer>)>,
    got: Vec<(String, String, String)>,
}

#[derive(Clone, Default)]
struct Line(Rc<RefCell<Daemon>>);

impl Line {
    /// What is answered to the next requests whose path begins like this; `None`: no connection.
    fn will(&self, path: &'static str, answers: impl IntoIterator<Item = Option<Answer>>) {
        self.0.borrow_mut().answers.extend(answers.into_iter().map(|answer| (path, answer)));
    }

    /// Bodies of what went to a path.
    fn got(&self, path: &str) -> Vec<String> {
        let daemon = self.0.borrow();
        daemon.got.iter().filter(|(to, ..)| to.starts_with(path)).map(|(_, _, body)| body.clone()).collect()
    }

    fn bearers(&self) -> Vec<String> {
        self.0.borrow().got.iter().map(|(_, bearer, _)| bearer.clone()).collect()
    }
}

impl Wire for Line {
    fn ask(&self, request: Request<'_>) -> Result<Answer, NoAnswer> {
        let mut daemon = self.0.borrow_mut();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        daemon.got.push((request.path.to_owned(), request.bearer.to_owned(), body));
        if request.path == "/agent/v1/log" {
            return Ok(status(204));
        }
        let at = daemon.answers.iter().position(|(path, _)| request.path.starts_with(path));
        let at = at.unwrap_or_else(|| panic!("nobody answers {} now; {:?}", request.path, daemon.got));
        daemon.answers.remove(at).unwrap().1.ok_or(NoAnswer::Damaged("there is nobody"))
    }
}

fn status(status: u16) -> Answer {
    Answer { status, retry_after: None, body: json!({"detail": format!("says {status}")}).to_string().into() }
}

fn welcome(session: &str) -> Option<Answer> {
    let body = json!({"session": session, "machine": "rack1-u01", "epoch": 7, "message": "It waits."});
    Some(Answer { status: 200, retry_after: None, body: body.to_string().into() })
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap()
}

fn order(task: Task) -> Option<Answer> {
    let order = Order {
        id: "o1".into(),
        epoch: 7,
        machine: "rack1-u01".into(),
        boot_id: "b1".into(),
        reason: "it was given back".into(),
        task,
    };
    let order = serde_json::to_string(&order).unwrap();
    let signed = SignedOrder { signature: base64(pair().sign(order.as_bytes()).as_ref()), order };
    Some(Answer { status: 200, retry_after: None, body: serde_json::to_vec(&signed).unwrap() })
}

fn wipe() -> Task {
    let disk = OrderedDisk { id: "wwn:1".into(), bytes: 4096, serial: None };
    Task::Wipe { level: WipeLevel::Clear.into(), disks: vec![disk] }
}

/// A machine whose time passes as it waits.
#[derive(Default)]
struct Fake {
    now: Duration,
    looked: std::cell::Cell<Duration>,
    said: Rc<RefCell<Vec<String>>>,
    lines: usize,
    cards_changed: Rc<RefCell<u32>>,
    facts: Facts,
    looks: Vec<bool>,
    /// What comes of orders about disks, in turn; nothing: the thread falls.
    news: VecDeque<Vec<News>>,
    begun: Rc<RefCell<Vec<Task>>>,
    /// The thread of the order that was begun last, if it does not end by itself.
    open: Option<mpsc::Sender<News>>,
    endless: u32,
    /// How often it was asked to stop.
    stopped: Rc<RefCell<u32>>,
}

impl Machine for Fake {
    fn now(&self) -> Duration {
        // Each look takes its time where a thread does not end.
        if self.open.is_some() {
            self.looked.set(self.looked.get() + Duration::from_secs(10));
        }
        self.now + self.looked.get()
    }

    fn pause(&mut self, time: Duration) {
        self.now += time;
    }

    fn say(&mut self, text: &str) {
        self.said.borrow_mut().push(text.to_owned());
    }

    fn card(&self) -> String {
        "52:54:00:aa:00:01".into()
    }

    fn facts(&mut self, again: bool) -> Facts {
        self.looks.push(again);
        self.facts.clone()
    }

    fn not_reached(&mut self) {
        *self.cards_changed.borrow_mut() += 1;
    }

    fn unsent(&mut self) -> Option<Log> {
        let lines: Vec<String> = self.said.borrow()[self.lines..].to_vec();
        (!lines.is_empty()).then_some(Log { lines, dropped: 0 })
    }

    fn sent(&mut self) {
        self.lines = self.said.borrow().len();
    }

    fn begin(&mut self, task: Task) -> mpsc::Receiver<News> {
        self.begun.borrow_mut().push(task);
        let (sender, receiver) = mpsc::channel();
        self.news.pop_front().unwrap_or_default().into_iter().for_each(|news| sender.send(news).unwrap());
        if self.endless > 0 {
            self.endless -= 1;
            self.open = Some(sender);
        }
        receiver
    }

    fn stop(&mut self) {
        *self.stopped.borrow_mut() += 1;
        // It ends a while later.
        let sender = self.open.take().unwrap();
        sender.send(News::Ended(OrderResult::Failed { why: "stopped".into(), certificate: None })).unwrap();
    }
}

struct Scene {
    line: Line,
    said: Rc<RefCell<Vec<String>>>,
    cards_changed: Rc<RefCell<u32>>,
    begun: Rc<RefCell<Vec<Task>>>,
    work: Work<Line, Fake>,
}

fn scene(machine: Fake) -> Scene {
    let line = Line::default();
    let start = CommandLine {
        url: "http://192.0.2.1".into(),
        token: "boot".into(),
        key: pair().public_key().as_ref().try_into().unwrap(),
        card: None,
    };
    Scene {
        line: line.clone(),
        said: Rc::clone(&machine.said),
        cards_changed: Rc::clone(&machine.cards_changed),
        begun: Rc::clone(&machine.begun),
        work: Work::new(Session::new(line, start, "b1".into()), machine),
    }
}

impl Scene {
    fn reports(&self) -> Vec<OrderResult> {
        let read = |body: String| serde_json::from_str::<Report>(&body).unwrap().result;
        self.line.got("/agent/v1/report").into_iter().map(read).collect()
    }

    fn has_said(&self, part: &str) -> usize {
        self.said.borrow().iter().filter(|line| line.contains(part)).count()
    }
}

#[test]
fn an_agent_greets_waits_and_hands_over() {
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", [welcome("s1")]);
    scene.line.will("/agent/v1/order", [Some(status(204)), Some(status(204)), order(Task::LocalDisk)]);
    scene.line.will("/agent/v1/report", [Some(status(204))]);
    assert_eq!(scene.work.run(), End::Restart);
    assert_eq!(scene.reports(), [OrderResult::Done { certificate: None }]);
    let bearers = scene.line.bearers();
    assert!(bearers[0] == "boot" && bearers[1..].iter().all(|bearer| bearer == "s1"), "{bearers:?}");
    assert_eq!(scene.has_said("this machine is rack1-u01: It waits."), 1);
    let logged = scene.line.got("/agent/v1/log").concat();
    assert!(logged.contains("boot from its own disk"), "{logged}");
}

#[test]
fn a_daemon_that_goes_and_comes_is_waited_for() {
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", [None, None, None, None, welcome("s1"), welcome("s2")]);
    // Gone for much longer than an agent that was never greeted waits; then it has forgotten the session.
    let gone = std::iter::repeat_with(|| None).take(100);
    scene
        .line
        .will("/agent/v1/order", gone.chain([Some(status(503)), Some(status(401)), order(Task::PowerOff)]));
    scene.line.will("/agent/v1/report", [None, Some(status(204))]);
    assert_eq!(scene.work.run(), End::Off);
    assert!(scene.work.machine.now > NEVER_REACHED * 2);
    assert_eq!(*scene.cards_changed.borrow(), 26, "another card is tried after every fourth failure");
    assert_eq!(scene.has_said("not reached"), 3, "each failure is said once: {:?}", scene.said);
    let bearers = scene.line.bearers();
    assert!(bearers.contains(&"s2".to_owned()));
    assert_eq!(bearers.iter().filter(|bearer| *bearer == "boot").count(), 6);
}

#[test]
fn who_is_never_greeted_is_let_go() {
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", std::iter::repeat_with(|| None).take(1_000));
    assert_eq!(scene.work.run(), End::Restart);
    let now = scene.work.machine.now;
    assert!(now > NEVER_REACHED && now < NEVER_REACHED * 2, "{now:?}");

    let mut scene = self::scene(Fake::default());
    scene.line.will("/agent/v1/hello", std::iter::repeat_with(|| Some(status(401))).take(100));
    assert_eq!(scene.work.run(), End::Restart);
    assert_eq!(scene.line.got("/agent/v1/hello").len(), UNKNOWN as usize);

    let mut scene = self::scene(Fake::default());
    scene.line.will("/agent/v1/hello", [Some(status(410))]);
    assert_eq!(scene.work.run(), End::Restart);
}

#[test]
fn a_wipe_is_reported_until_the_daemon_has_it() {
    let progress = DiskProgress { id: "wwn:1".into(), step: "zeroes".into(), percent: 50 };
    let done = OrderResult::Done { certificate: None };
    let news = vec![News::Progress(vec![progress]), News::Ended(done.clone())];
    let mut scene = scene(Fake { news: [news].into(), ..Fake::default() });
    scene.line.will("/agent/v1/hello", [welcome("s1"), welcome("s2")]);
    scene.line.will("/agent/v1/order", [order(wipe()), order(Task::Reboot)]);
    // The daemon restarts, has no session for a moment, and then takes it.
    scene.line.will("/agent/v1/report", [Some(status(204)), None, Some(status(401)), Some(status(503))]);
    scene.line.will("/agent/v1/report", [Some(status(204)), Some(status(204))]);
    assert_eq!(scene.work.run(), End::Restart);
    assert_eq!(*scene.begun.borrow(), [wipe()]);
    let reports = scene.reports();
    assert_eq!(reports[0], OrderResult::Running { disks: vec![] });
    assert_eq!(reports[1..], [done.clone(), done.clone(), done.clone(), done.clone(), done]);
    // What the disks hold is looked at again afterwards.
    assert_eq!(scene.work.machine.looks.iter().filter(|again| **again).count(), 1);
}

#[test]
fn nothing_is_begun_without_leave() {
    // The order is for another start, for another daemon, or is withdrawn before it begins.
    let other = |change: &dyn Fn(&mut SignedOrder)| {
        let answer = order(wipe()).unwrap();
        let mut signed: SignedOrder = serde_json::from_slice(&answer.body).unwrap();
        change(&mut signed);
        Some(Answer { body: serde_json::to_vec(&signed).unwrap(), ..answer })
    };
    let foreign = Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap();
    let orders = [
        other(&|signed| signed.order = signed.order.replace("4096", "8192")),
        other(&|signed| signed.signature = base64(foreign.sign(signed.order.as_bytes()).as_ref())),
        other(&|signed| {
            signed.order = signed.order.replace("\"b1\"", "\"b2\"");
            signed.signature = base64(pair().sign(signed.order.as_bytes()).as_ref());
        }),
        order(wipe()),
        order(Task::Reboot),
    ];
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", [welcome("s1")]);
    scene.line.will("/agent/v1/order", orders);
    scene.line.will("/agent/v1/report", [Some(status(409)), Some(status(204))]);
    assert_eq!(scene.work.run(), End::Restart);
    assert!(scene.begun.borrow().is_empty());
    assert_eq!(scene.reports().len(), 2);
}

/// The daemon does not take a report that is too long; the order must not be carried out again because of that.
#[test]
fn a_certificate_that_is_too_long_is_shortened() {
    let samples = Samples { seed: 7, length: 512, offsets: vec![0, 512] };
    let disk = DiskCertificate {
        id: "wwn:1".into(),
        model: None,
        serial: None,
        wwn: None,
        firmware: None,
        bytes: 4096,
        asked: WipeLevel::Clear.into(),
        reached: WipeLevel::Clear.into(),
        methods: vec![],
        samples: Some(samples),
        seconds: 1,
    };
    let certificate =
        Certificate { agent: "1".into(), kernel: "6".into(), started: 1, finished: 2, disks: vec![disk] };
    let done = OrderResult::Done { certificate: Some(certificate) };
    let mut scene = scene(Fake { news: [vec![News::Ended(done)]].into(), ..Fake::default() });
    scene.line.will("/agent/v1/hello", [welcome("s1")]);
    scene.line.will("/agent/v1/order", [order(wipe()), order(Task::Reboot)]);
    scene.line.will("/agent/v1/report", [204, 413, 413, 204, 204].map(|number| Some(status(number))));
    assert_eq!(scene.work.run(), End::Restart);
    let offsets = |result: &OrderResult| match result {
        OrderResult::Done { certificate } => certificate
            .as_ref()
            .map(|certificate| certificate.disks[0].samples.as_ref().unwrap().offsets.len()),
        other => panic!("{other:?}"),
    };
    let sent: Vec<Option<usize>> = scene.reports()[1..].iter().map(offsets).collect();
    assert_eq!(sent, [Some(2), Some(0), None, None]);
}

#[test]
fn a_thread_that_falls_is_a_failed_order() {
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", [welcome("s1")]);
    scene.line.will("/agent/v1/order", [order(wipe()), order(Task::Reboot)]);
    scene.line.will("/agent/v1/report", [Some(status(204)), Some(status(204)), Some(status(204))]);
    assert_eq!(scene.work.run(), End::Restart);
    assert!(matches!(&scene.reports()[1], OrderResult::Failed { why, .. } if why.contains("fault")));
}

/// A withdrawn order is broken off, and the next one waits until it has left the disks.
#[test]
fn two_orders_are_never_at_the_disks_at_once() {
    let progress = News::Progress(vec![]);
    let done = News::Ended(OrderResult::Done { certificate: None });
    let machine = Fake { news: [vec![progress], vec![done]].into(), endless: 1, ..Fake::default() };
    let stopped = Rc::clone(&machine.stopped);
    let mut scene = scene(machine);
    scene.line.will("/agent/v1/hello", [welcome("s1"), welcome("s1"), welcome("s1")]);
    scene.line.will("/agent/v1/order", [order(wipe()), order(wipe()), order(Task::Reboot)]);
    scene.line.will("/agent/v1/report", [Some(status(204)), Some(status(409))]);
    scene.line.will("/agent/v1/report", [Some(status(204)), Some(status(204)), Some(status(204))]);
    assert_eq!(scene.work.run(), End::Restart);
    assert_eq!((*stopped.borrow(), scene.begun.borrow().len()), (1, 2));
    assert_eq!(scene.has_said("a former order is still at the disks"), 1);
    assert_eq!(
        scene.reports().iter().filter(|result| matches!(result, OrderResult::Failed { .. })).count(),
        0
    );
}

#[test]
fn an_epoch_that_is_over_ends_a_wipe() {
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", [welcome("s1")]);
    scene.line.will("/agent/v1/order", [order(wipe())]);
    scene.line.will("/agent/v1/report", [Some(status(410))]);
    assert_eq!(scene.work.run(), End::Restart);
    assert!(scene.begun.borrow().is_empty());
}

#[test]
fn hardware_that_changes_is_shown() {
    let mut scene = scene(Fake::default());
    scene.line.will("/agent/v1/hello", [welcome("s1"), welcome("s1")]);
    scene.line.will("/agent/v1/order", [Some(status(204)), order(Task::Reboot)]);
    scene.line.will("/agent/v1/report", [Some(status(204))]);
    scene.work.turn().unwrap();
    scene.work.turn().unwrap();
    scene.work.machine.facts.disks.push(DiskFacts::default());
    scene.work.machine.now += Duration::from_secs(6);
    assert_eq!(scene.work.run(), End::Restart);
    let shown = scene.line.got("/agent/v1/hello");
    assert_eq!(shown.len(), 2);
    assert!(shown[1].contains("logical-block"), "{shown:?}");
    assert_eq!(scene.has_said("this machine is"), 1);
}
