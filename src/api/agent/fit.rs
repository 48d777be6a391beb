//! Whether the certificate of a wipe is one of the order that it was sent for.

use super::{Certificate, DiskCertificate, OrderedDisk};
use crate::model::WipeLevel;

/// Longest certificate that is kept whole, in bytes. Of longer ones the places of samples are left out, which follow from
/// their seeds.
const TEXT_MAX: usize = 64 * 1024;

/// The certificate's text, if it shows that each disk of an order, and no other, was wiped to its level; else what it lacks,
/// in a sentence.
pub(super) fn fitting(
    certificate: Option<&Certificate>,
    level: WipeLevel,
    disks: &[OrderedDisk],
) -> Result<String, String> {
    let certificate = certificate.ok_or("there is no certificate")?;
    for disk in disks {
        let mut own = certificate.disks.iter().filter(|one| one.id == disk.id);
        let one = own.next().ok_or_else(|| format!("the certificate does not name disk {}", disk.id))?;
        if own.next().is_some() {
            return Err(format!("the certificate names disk {} twice", disk.id));
        }
        is_wiped(one, level, disk)?;
    }
    if let Some(other) = certificate.disks.iter().find(|one| disks.iter().all(|disk| disk.id != one.id)) {
        return Err(format!("the certificate names disk {}, which the order does not", short(&other.id)));
    }
    text(certificate)
}

/// The text of what a wipe that failed did nevertheless; empty where it is too long to be kept.
pub(super) fn partial(certificate: &Certificate) -> String {
    text(certificate).unwrap_or_default()
}

fn is_wiped(one: &DiskCertificate, level: WipeLevel, disk: &OrderedDisk) -> Result<(), String> {
    let id = &disk.id;
    if one.bytes != disk.bytes {
        return Err(format!(
            "disk {id} has {} bytes in the certificate and {} in the order",
            one.bytes, disk.bytes
        ));
    }
    if disk.serial.is_some() && one.serial != disk.serial {
        let serial = short(one.serial.as_deref().unwrap_or("none"));
        return Err(format!(
            "disk {id} has the serial number {serial} in the certificate, and another in the order"
        ));
    }
    if one.asked != level {
        return Err(format!(
            "the certificate of disk {id} is of an order for {}, not {level}",
            short(one.asked.as_str())
        ));
    }
    if one.reached.known().is_none_or(|reached| reached < level) {
        let reached = short(one.reached.as_str());
        return Err(format!(
            "disk {id} reached the level {reached} and not {level}; `voldemortctl wipe` with that level accepts it"
        ));
    }
    if one.methods.is_empty() {
        return Err(format!("the certificate does not say how disk {id} was wiped"));
    }
    let is_inside =
        |offset: &u64| offset.checked_add(samples_length(one)).is_some_and(|end| end <= disk.bytes);
    match &one.samples {
        None if level > WipeLevel::Quick => Err(format!("disk {id} was not read back")),
        Some(samples) if disk.bytes > 0 && samples.length == 0 && level > WipeLevel::Quick => {
            Err(format!("nothing of disk {id} was read back"))
        }
        Some(samples) if !samples.offsets.iter().all(is_inside) => {
            Err(format!("disk {id} was read back beyond its end"))
        }
        _ => Ok(()),
    }
}

fn samples_length(one: &DiskCertificate) -> u64 {
    one.samples.as_ref().map_or(0, |samples| samples.length)
}

fn text(certificate: &Certificate) -> Result<String, String> {
    let written =
        |certificate: &Certificate| serde_json::to_string(certificate).map_err(|error| error.to_string());
    let whole = written(certificate)?;
    if whole.len() <= TEXT_MAX {
        return Ok(whole);
    }
    let mut shorter = certificate.clone();
    shorter
        .disks
        .iter_mut()
        .filter_map(|disk| disk.samples.as_mut())
        .for_each(|samples| samples.offsets.clear());
    let text = written(&shorter)?;
    match text.len() <= TEXT_MAX {
        true => Ok(text),
        false => Err(format!("the certificate has {} bytes, and {TEXT_MAX} are kept at most", text.len())),
    }
}

/// What an agent says, as far as a sentence has room for it.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::agent::{MethodUsed, Samples};

    pub(crate) fn certificate(disk: &OrderedDisk, level: WipeLevel) -> Certificate {
        let one = DiskCertificate {
            id: disk.id.clone(),
            model: None,
            serial: disk.serial.clone(),
            wwn: None,
            firmware: None,
            bytes: disk.bytes,
            asked: level.into(),
            reached: level.into(),
            methods: vec![MethodUsed { method: "zeroout".into(), status: "ok".into() }],
            samples: Some(Samples { seed: 7, length: 512, offsets: vec![0, disk.bytes - 512] }),
            seconds: 1,
        };
        Certificate { agent: "0.3".into(), kernel: "6.1".into(), started: 1, finished: 2, disks: vec![one] }
    }

    #[test]
    fn only_what_shows_that_each_disk_of_the_order_was_wiped_fits() {
        let disk = OrderedDisk { id: "wwn:1".into(), bytes: 4096, serial: Some("S1".into()) };
        let right = certificate(&disk, WipeLevel::Clear);
        let fits = |change: &dyn Fn(&mut Certificate)| {
            let mut own = right.clone();
            change(&mut own);
            fitting(Some(&own), WipeLevel::Clear, std::slice::from_ref(&disk))
        };
        let text = fits(&|_| {}).unwrap();
        assert_eq!(serde_json::from_str::<Certificate>(&text).unwrap(), right);
        type Change<'a> = &'a dyn Fn(&mut Certificate);
        let wrong: &[(Change<'_>, &str)] = &[
            (&|one| one.disks.clear(), "does not name disk wwn:1"),
            (&|one| one.disks.push(one.disks[0].clone()), "twice"),
            (
                &|one| one.disks.push(DiskCertificate { id: "wwn:2".into(), ..one.disks[0].clone() }),
                "disk wwn:2",
            ),
            (&|one| one.disks[0].bytes = 8192, "8192 bytes"),
            (&|one| one.disks[0].serial = None, "serial number none"),
            (&|one| one.disks[0].asked = WipeLevel::Quick.into(), "for quick"),
            (&|one| one.disks[0].reached = WipeLevel::Quick.into(), "reached the level quick"),
            (&|one| one.disks[0].reached = Default::default(), "reached the level "),
            (&|one| one.disks[0].methods.clear(), "how disk wwn:1"),
            (&|one| one.disks[0].samples = None, "not read back"),
            (&|one| one.disks[0].samples.as_mut().unwrap().length = 0, "nothing of disk"),
            (&|one| one.disks[0].samples.as_mut().unwrap().offsets.push(u64::MAX), "beyond its end"),
        ];
        for (change, why) in wrong {
            let found = fits(change).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
        assert!(fitting(None, WipeLevel::Clear, &[]).is_err());
        // Places of samples that are too many to be kept follow from their seed.
        let long =
            |one: &mut Certificate| one.disks[0].samples.as_mut().unwrap().offsets = vec![1000; 20_000];
        let kept: Certificate = serde_json::from_str(&fits(&long).unwrap()).unwrap();
        let samples = kept.disks[0].samples.as_ref().unwrap();
        assert_eq!((samples.seed, samples.offsets.len()), (7, 0));
        // A quick wipe reads nothing back, and more than what was asked for is enough.
        let mut quick = certificate(&disk, WipeLevel::Quick);
        quick.disks[0].samples = None;
        quick.disks[0].reached = WipeLevel::Purge.into();
        assert!(fitting(Some(&quick), WipeLevel::Quick, std::slice::from_ref(&disk)).is_ok());
    }
}
