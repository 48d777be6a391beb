//! What runs beside the servers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::effect::power_orders::Tempo;
use super::super::effect::{self, Executor, Fetches, PowerOrders, PowerReads};
use super::super::keeper::Keeper;
use super::super::link::Follower;
use super::super::reconcile::{POSTED, Reconciler};
use super::super::service::{Part, Row, StatusBoard, supervise};
use super::super::syslog::Syslog;
use super::super::{Stop, fetch, firmware, host_addresses, posted, registrar};
use super::base::{Base, others};
use super::until;
use crate::config::Config;
use crate::model::{Inventory, Name};
use crate::power::{Limits, Tools, Trust};
use crate::source;

/// How often it is looked whether maintenance windows open and whose power is to be read.
const CLOCK: Duration = Duration::from_secs(2);
/// Time between two sweeps of the state directory.
const SWEEP: Duration = Duration::from_secs(24 * 3600);

/// What runs beside the servers, each under supervision.
pub(super) struct Background<'h> {
    pub board: &'h StatusBoard,
    pub stop: &'h Stop,
    pub tasks: &'h mut JoinSet<()>,
}

impl Background<'_> {
    /// Starts those that need nothing but the base.
    pub(super) fn all(&mut self, base: &Base) {
        let Base { config, keeper, reconciler, .. } = base;
        self.executors(base);
        self.webhooks(base);
        self.syslog(base);
        self.clock(keeper);
        self.tasks.spawn(until(self.stop.clone(), registrar::run(keeper.clone(), reconciler.clone())));
        self.host(keeper);
        self.firmware(keeper, &config.firmware.paths);
        self.tasks.spawn(until(self.stop.clone(), sweep(config.clone(), reconciler.clone())));
    }

    fn add<A>(&mut self, name: &str, part: Part, attempt: impl Fn() -> A + Send + 'static)
    where
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        let rows: Arc<[Row]> = [self.board.row(name, part)].into();
        let row = rows.clone();
        let attempt = move || {
            row[0].serving();
            attempt()
        };
        self.tasks.spawn(until(self.stop.clone(), supervise(rows, attempt)));
    }

    /// Follows the interfaces, and reports the networks that the daemon has addresses on to the keeper.
    pub(super) fn interfaces(&mut self, follower: &Arc<Follower>, keeper: &Keeper) {
        let (own, keeper) = (follower.clone(), keeper.clone());
        self.add("interfaces", Part::Daemon, move || {
            let (follower, keeper) = (own.clone(), keeper.clone());
            async move {
                let mut changes = JoinSet::new();
                for mut network in follower.networks().into_iter().skip(1) {
                    let (follower, keeper) = (follower.clone(), keeper.clone());
                    changes.spawn(async move {
                        loop {
                            network.changed().await;
                            keeper.networks(others(&follower)).await;
                        }
                    });
                }
                follower.run().await.map_err(|error| error.to_string())
            }
        });
    }

    /// Hands what the sources report to the reconciler.
    pub(super) fn sources(
        &mut self,
        reconciler: &Arc<Reconciler>,
        queue: mpsc::Receiver<(Name, source::Update)>,
    ) {
        let (reconciler, queue) = (reconciler.clone(), Arc::new(tokio::sync::Mutex::new(queue)));
        self.add("sources", Part::Daemon, move || {
            let (reconciler, queue) = (reconciler.clone(), queue.clone());
            async move {
                let (out, updates) = mpsc::channel(1);
                let pass_on = async {
                    let mut queue = queue.lock().await;
                    while let Some(update) = queue.recv().await {
                        let _ = out.send(update).await;
                    }
                };
                tokio::select! {
                    () = reconciler.run(updates) => Err("the reconciler ended".to_owned()),
                    () = pass_on => Err("no source is followed any longer".to_owned()),
                }
            }
        });
    }

    /// Starts what carries out the tasks of the outbox, one service a kind.
    fn executors(&mut self, base: &Base) {
        let Base { config, keeper, hooks, .. } = base;
        let tools = Tools::new(Trust::of_host(), Limits::default(), config.power.clone());
        let (own, tools) = (keeper.clone(), Arc::new(tools));
        let (orders, shared) = (keeper.clone(), tools.clone());
        self.executor("power", keeper, move || PowerReads { keeper: own.clone(), tools: tools.clone() });
        self.executor("power-orders", keeper, move || {
            PowerOrders::new(orders.clone(), shared.clone(), Tempo::default())
        });
        let hooks = hooks.clone();
        let fetches = move || Fetches { sources: hooks.get().cloned().unwrap_or_default() };
        self.executor("fetches", keeper, fetches);
    }

    fn executor<E: Executor>(&mut self, name: &str, keeper: &Keeper, open: impl Fn() -> E + Send + 'static) {
        let keeper = keeper.clone();
        self.add(name, Part::Daemon, move || effect::run(open(), keeper.clone()));
    }

    /// Sends events to each webhook, and the head of the audit log into the timeline, from where they have it.
    fn webhooks(&mut self, base: &Base) {
        for webhook in base.webhooks.iter() {
            let rows: Arc<[Row]> = [self.board.row(webhook.service(), Part::Auxiliary)].into();
            let (webhook, keeper, row) = (webhook.clone(), base.keeper.clone(), rows.clone());
            let stop = self.stop.clone();
            let attempt = move || {
                let (webhook, keeper, row, stop) =
                    (webhook.clone(), keeper.clone(), row.clone(), stop.clone());
                async move {
                    webhook.run(keeper, row, stop).await;
                    Ok(())
                }
            };
            // Ends by itself when it is time to stop: the last events are sent then.
            self.tasks.spawn(supervise(rows, attempt));
        }
        let audit = base.audit.clone();
        self.tasks.spawn(until(self.stop.clone(), async move { audit.publish_hourly().await }));
    }

    /// Takes the logs of machines where the daemon's file says so.
    fn syslog(&mut self, base: &Base) {
        for listen in &base.config.syslog {
            let rows: Arc<[Row]> = [self.board.row(format!("syslog {listen}"), Part::Daemon)].into();
            let (listen, row) = (*listen, rows.clone());
            let syslog = Syslog { keeper: base.keeper.clone(), book: base.logs.clone() };
            let attempt = move || {
                let (syslog, row) = (syslog.clone(), row.clone());
                async move { syslog.run(listen, || row[0].serving()).await }
            };
            self.tasks.spawn(until(self.stop.clone(), supervise(rows, attempt)));
        }
    }

    /// Follows the addresses of this host, which are given to no machine.
    fn host(&mut self, keeper: &Keeper) {
        let (keeper, stop) = (keeper.clone(), self.stop.clone());
        self.add("own-addresses", Part::Daemon, move || {
            let (keeper, stop) = (keeper.clone(), stop.clone());
            async move {
                host_addresses::follow(keeper, stop).await;
                Ok(())
            }
        });
    }

    /// Follows the boot programs in the directories of the settings.
    fn firmware(&mut self, keeper: &Keeper, paths: &[PathBuf]) {
        let (keeper, paths, stop) = (keeper.clone(), paths.to_owned(), self.stop.clone());
        self.add("boot-programs", Part::Daemon, move || {
            let (keeper, paths, stop) = (keeper.clone(), paths.clone(), stop.clone());
            async move {
                firmware::follow(keeper, paths, stop).await;
                Ok(())
            }
        });
    }

    fn clock(&mut self, keeper: &Keeper) {
        let keeper = keeper.clone();
        self.add("clock", Part::Daemon, move || {
            let keeper = keeper.clone();
            async move {
                keep_time(keeper).await;
                Ok(())
            }
        });
    }
}

/// Removes once a day what no source needs any more of the state directory.
async fn sweep(config: Config, reconciler: Arc<Reconciler>) {
    let state = config.state.directory;
    let repositories = config.sources.iter().filter_map(|source| match &source.inventory {
        Inventory::Git(git) => Some(source::git::mirror_of(git, &state)),
        Inventory::Directory(_) | Inventory::Own => None,
    });
    let mirrors: Vec<PathBuf> = repositories.collect();
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut used = reconciler.copies();
        used.extend(mirrors.iter().cloned());
        let place = source::git::place(&state);
        let (posted, served) = (state.join(POSTED), reconciler.media());
        let (fetched, images) = (state.join(fetch::FETCHED), reconciler.images());
        let work = move || {
            source::git::sweep(&place, &used);
            posted::sweep(&posted, &served);
            fetch::sweep(&fetched, &images);
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

/// Maintenance windows open and close, and memory is given back, while nothing else happens.
async fn keep_time(keeper: Keeper) {
    let mut clock = tokio::time::interval(CLOCK);
    loop {
        clock.tick().await;
        keeper.tick();
        crate::give_back();
    }
}
