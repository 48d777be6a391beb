//! An inventory in a git repository. (filled in next)

use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository;
pub async fn follow(_: Repository, _: Arc<Notify>, _: Sender<super::Update>) {}
