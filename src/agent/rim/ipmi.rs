//! The management controller of the machine, by the kernel's driver (linux/ipmi.h).

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::load::load_by_name;
use crate::agent::ipmi::{self, Question};

const DEVICE: &str = "/dev/ipmi0";
/// Where a controller shows for which the kernel found a driver.
const DRIVER: &str = "/sys/bus/platform/drivers/ipmi_si";
/// How long a controller may take to answer, in milliseconds: one that does not is not asked again.
const PATIENCE: u16 = 3_000;

const SYSTEM_INTERFACE: libc::c_int = 0x0c;
const BMC_CHANNEL: libc::c_short = 0x0f;

/// `struct ipmi_system_interface_addr`
#[repr(C)]
#[derive(Default)]
struct Address {
    kind: libc::c_int,
    channel: libc::c_short,
    lun: u8,
}

/// `struct ipmi_msg`
#[repr(C)]
struct Message {
    netfn: u8,
    command: u8,
    length: u16,
    data: *mut u8,
}

/// `struct ipmi_req`
#[repr(C)]
struct Request {
    address: *mut Address,
    address_length: libc::c_uint,
    id: libc::c_long,
    message: Message,
}

/// `struct ipmi_recv`
#[repr(C)]
struct Received {
    kind: libc::c_int,
    address: *mut Address,
    address_length: libc::c_uint,
    id: libc::c_long,
    message: Message,
}

mod call {
    nix::ioctl_read!(send, b'i', 13, super::Request);
    nix::ioctl_readwrite!(receive, b'i', 11, super::Received);
}

/// The address of the machine's controller; `None` without one that says.
pub(super) fn address() -> Option<IpAddr> {
    if !Path::new(DEVICE).exists() && Path::new(DRIVER).exists() {
        // Nothing asks for this one by itself.
        let _ = load_by_name(&["ipmi_devintf".to_owned()]);
    }
    let device = File::options().read(true).write(true).open(DEVICE).ok()?;
    let mut is_silent = false;
    ipmi::address(&mut |question| {
        if is_silent {
            return None;
        }
        let answer = ask(&device, question);
        is_silent = answer.is_none();
        // The completion code comes first.
        let answer = answer?;
        let (code, rest) = answer.split_first()?;
        (*code == 0).then(|| rest.to_vec())
    })
}

/// Asks the controller; its answer, with the completion code.
fn ask(device: &File, question: Question) -> Option<Vec<u8>> {
    let Question { netfn, command, mut data } = question;
    let mut address = Address { kind: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
    let length = size_of::<Address>() as libc::c_uint;
    let message = Message { netfn, command, length: data.len().try_into().ok()?, data: data.as_mut_ptr() };
    let mut request = Request { address: &raw mut address, address_length: length, id: 1, message };
    // SAFETY: the structure is the one that the call takes; `address` and `data` outlive it, and their lengths are theirs.
    unsafe { call::send(device.as_raw_fd(), &raw mut request) }.ok()?;
    let mut ready = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::from(PATIENCE)).ok()? == 0 {
        return None;
    }
    let mut answer = vec![0; 256];
    let message = Message { netfn: 0, command: 0, length: answer.len() as u16, data: answer.as_mut_ptr() };
    let mut from = Address::default();
    let mut received = Received { kind: 0, address: &raw mut from, address_length: length, id: 0, message };
    // SAFETY: as above; the call writes no more than the lengths say.
    unsafe { call::receive(device.as_raw_fd(), &raw mut received) }.ok()?;
    answer.truncate(received.message.length.into());
    Some(answer)
}
