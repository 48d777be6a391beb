//! `voldemortctl`: the daemon over the network.

mod adopt;
mod audit;
mod boot_once;
mod cancel;
mod change;
mod claim;
mod context;
mod describe;
mod events;
mod get;
mod hold;
mod login;
mod logs;
mod order;
mod output;
mod power;
mod register;
mod release;
mod resource;
mod serve_dhcp;
mod several;
mod token;
mod value;
mod wait;
mod wipe;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use super::remote::Remote;
use super::{Exit, exit, live, table};

/// Shows the state of a running voldemort daemon, changes what it deploys, and orders what happens to
/// revisions
#[derive(Parser, Debug)]
#[command(name = "voldemortctl", version)]
pub struct Ctl {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Get(get::Arguments),
    Describe(describe::Arguments),
    Events(events::Arguments),
    Logs(logs::Arguments),
    Audit(audit::Arguments),
    Approve(order::Approve),
    Reject(order::Reject),
    Suspend(order::Suspend),
    Resume(order::Resume),
    Pin(order::Pin),
    Unpin(order::Unpin),
    Wait(wait::Arguments),
    Create(change::Create),
    Update(change::Update),
    Delete(change::Delete),
    Deploy(change::Deploy),
    Redeploy(change::Redeploy),
    Adopt(adopt::Arguments),
    Claim(claim::Arguments),
    Extend(claim::Extend),
    Keep(claim::Keep),
    Register(register::Arguments),
    Release(release::Arguments),
    Hold(hold::Hold),
    Unhold(hold::Unhold),
    Retry(hold::Retry),
    Wipe(wipe::Arguments),
    Power(power::Arguments),
    BootOnce(boot_once::Arguments),
    ForgetLoaders(boot_once::Forget),
    Cancel(cancel::Arguments),
    ServeDhcp(serve_dhcp::Arguments),
    Token(token::Arguments),
    Context(context::Arguments),
    Login(login::Arguments),
}

/// Runs one command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(exit) = live::complete(Ctl::command, &arguments) {
        return exit;
    }
    if let Some(error) = resource::blank_in_path(&arguments) {
        return exit::usage(&error, &arguments);
    }
    let ctl = match Ctl::try_parse_from(&arguments) {
        Ok(ctl) => ctl,
        Err(error) => return exit::usage(&error, &arguments),
    };
    let remote = &ctl.remote;
    match &ctl.command {
        Command::Get(arguments) => get::run(arguments, remote),
        Command::Describe(arguments) => describe::run(arguments, remote),
        Command::Events(arguments) => events::run(arguments, remote),
        Command::Logs(arguments) => logs::run(arguments, remote),
        Command::Audit(arguments) => audit::run(arguments, remote),
        Command::Wait(arguments) => wait::run(arguments, remote),
        Command::Create(arguments) => arguments.run(remote),
        Command::Update(arguments) => arguments.run(remote),
        Command::Delete(arguments) => arguments.run(remote),
        Command::Deploy(arguments) => arguments.run(remote),
        Command::Redeploy(arguments) => arguments.run(remote),
        Command::Adopt(arguments) => adopt::run(arguments, remote),
        Command::Claim(arguments) => claim::run(arguments, remote),
        Command::Extend(arguments) => claim::extend(arguments, remote),
        Command::Keep(arguments) => claim::keep(arguments, remote),
        Command::Hold(arguments) => hold::hold(arguments, remote),
        Command::Unhold(arguments) => hold::unhold(arguments, remote),
        Command::Retry(arguments) => hold::retry(arguments, remote),
        Command::Wipe(arguments) => wipe::run(arguments, remote),
        Command::Register(arguments) => register::run(arguments, remote),
        Command::Release(arguments) => release::run(arguments, remote),
        Command::Power(arguments) => power::run(arguments, remote),
        Command::BootOnce(arguments) => boot_once::run(arguments, remote),
        Command::ForgetLoaders(arguments) => boot_once::forget(arguments, remote),
        Command::Cancel(arguments) => cancel::run(arguments, remote),
        Command::ServeDhcp(arguments) => serve_dhcp::run(arguments, remote),
        Command::Token(arguments) => token::run(arguments, remote),
        Command::Context(arguments) => context::run(arguments, remote),
        Command::Login(arguments) => login::run(arguments, remote),
        Command::Approve(arguments) => order::approve(arguments, remote),
        Command::Reject(arguments) => order::reject(arguments, remote),
        Command::Suspend(arguments) => order::suspend(arguments, remote),
        Command::Resume(arguments) => order::resume(arguments, remote),
        Command::Pin(arguments) => order::pin(arguments, remote),
        Command::Unpin(arguments) => order::unpin(arguments, remote),
    }
}
