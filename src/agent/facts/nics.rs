//! Network cards.

use super::{Calls, Root};
use crate::api::agent::Nic;

/// `ARPHRD_ETHER` of linux/if_arp.h.
const ETHERNET: &str = "1";

/// Ethernet cards with a device behind them, by their names.
pub(super) fn read(root: &Root, calls: &Calls<'_>) -> Vec<Nic> {
    root.names("sys/class/net").into_iter().filter_map(|name| nic(root, calls, name)).collect()
}

fn nic(root: &Root, calls: &Calls<'_>, name: String) -> Option<Nic> {
    let path = |file: &str| format!("sys/class/net/{name}/{file}");
    if !root.exists(&path("device")) || root.text(&path("type")).as_deref() != Some(ETHERNET) {
        return None;
    }
    let mac: crate::model::Mac = root.text(&path("address"))?.parse().ok()?;
    // Both can't be read while the card is off; the speed is -1 without a link.
    let carrier = root.text(&path("carrier")).as_deref() == Some("1");
    let speed = root.number(&path("speed")).filter(|_| carrier);
    Some(Nic {
        mac: mac.to_string(),
        permanent_mac: (calls.permanent_mac)(&name).filter(|made| *made != mac).map(|made| made.to_string()),
        driver: root.link(&path("device/driver")),
        pci: root.real(&path("device")).as_deref().and_then(pci),
        speed,
        carrier,
        neighbour: calls.neighbours.get(&name).cloned(),
        name,
    })
}

/// The last PCI address on a way through devices: `0000:00:03.0` of `…/pci0000:00/0000:00:03.0/virtio0`.
fn pci(place: &str) -> Option<String> {
    let is_address = |word: &&str| {
        let shape =
            [8, 5, 2].map(|from_end| word.len().checked_sub(from_end).and_then(|at| word.as_bytes().get(at)));
        shape == [Some(&b':'), Some(&b':'), Some(&b'.')] && word.len() >= 12
    };
    place.split('/').rev().find(is_address).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found() {
        assert_eq!(pci("sys/devices/pci0000:00/0000:00:03.0/virtio0").as_deref(), Some("0000:00:03.0"));
        assert_eq!(
            pci("sys/devices/pci0000:00/0000:00:02.0/10000:01:00.1").as_deref(),
            Some("10000:01:00.1")
        );
        assert_eq!(pci("sys/devices/platform/soc/fe300000.ethernet"), None);
    }
}
