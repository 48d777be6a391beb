//! The disk of the virtual machine, made so that what a deployment says of its disk is true of it.

use crate::desired::Deployment;
use crate::model::disk::Hints;
use crate::render::Value;

/// The empty disk; the image is a sparse file.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    pub bus: Bus,
    pub serial: String,
    /// Hexadecimal digits, without `0x`.
    pub wwn: Option<String>,
    pub model: Option<String>,
    pub bytes: u64,
    pub rotational: Option<bool>,
}

/// How the disk is attached, which decides its name in Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vda`
    Virtio,
    /// `/dev/sda`, behind a virtio controller
    Scsi,
    /// `/dev/sda`
    Sata,
    /// `/dev/nvme0n1`
    Nvme,
}

const USUAL_BYTES: u64 = 20 << 30;
/// What QEMU calls its NVMe disks.
const NVME_MODEL: &str = "QEMU NVMe Ctrl";
/// The model that Linux shows of a SCSI disk, SATA among them.
const MODEL_MAX: usize = 16;
/// Digits of a World Wide Name of 64 bits.
const WWN_DIGITS: usize = 16;

impl Disk {
    /// A disk as a deployment wants it; the error says why there can't be one.
    pub fn of(deployment: &Deployment) -> Result<Disk, String> {
        if let Some(hints) = deployment.disk_hints() {
            return Disk::like(&hints);
        }
        Ok(match deployment.values.get("disk") {
            Some(Value::String(path)) => Disk::on(Bus::of(path)),
            _ => Disk::on(Bus::Virtio),
        })
    }

    pub fn on(bus: Bus) -> Disk {
        let serial = "voldemort".to_owned();
        Disk { bus, serial, wwn: None, model: None, bytes: USUAL_BYTES, rotational: None }
    }

    fn like(hints: &Hints) -> Result<Disk, String> {
        let Hints { serial, wwn, model, min_size, max_size, rotational, transport } = hints;
        // virtio-blk has none of these, and Linux holds its disks for rotating ones.
        let is_scsi = wwn.is_some()
            || model.is_some()
            || *rotational == Some(false)
            || serial.as_ref().is_some_and(|serial| serial.len() > Bus::Virtio.serial_max());
        let bus = match transport.as_deref() {
            None | Some("virtio") if is_scsi => Bus::Scsi,
            None | Some("virtio") => Bus::Virtio,
            Some("sata") => Bus::Sata,
            Some("nvme") => Bus::Nvme,
            Some(other) => return Err(format!("its disk is nvme, sata or virtio, not {other}")),
        };
        let usual = Disk::on(bus);
        let disk = Disk {
            serial: serial.clone().unwrap_or(usual.serial),
            wwn: wwn.as_deref().map(digits).transpose()?,
            model: model.clone().filter(|model| bus != Bus::Nvme || !NVME_MODEL.contains(model)),
            bytes: USUAL_BYTES.max(min_size.unwrap_or(0)).min(max_size.unwrap_or(u64::MAX)),
            rotational: *rotational,
            ..usual
        };
        disk.possible()
    }

    fn possible(self) -> Result<Disk, String> {
        let Disk { bus, serial, wwn, model, bytes: _, rotational } = &self;
        let most = bus.serial_max();
        let is_long = |text: &str, most: usize| text.len() > most;
        let why = match bus {
            _ if is_long(serial, most) => {
                format!("a serial number has at most {most} characters there, not {}", serial.len())
            }
            Bus::Nvme if wwn.is_some() => "an NVMe disk has no World Wide Name of one's choice there".into(),
            Bus::Nvme if model.is_some() => format!("the model of an NVMe disk is {NVME_MODEL} there"),
            Bus::Nvme if *rotational == Some(true) => "an NVMe disk does not rotate".into(),
            _ if model.as_ref().is_some_and(|model| is_long(model, MODEL_MAX)) => {
                format!("a model has at most {MODEL_MAX} characters there")
            }
            _ => return Ok(self),
        };
        Err(why)
    }

    /// QEMU's options for it, over the drive of this name.
    pub fn options(&self, drive: &str) -> String {
        let text = |name: &str, value: &str| format!(",{name}={}", escaped(value));
        let wwn = self.wwn.as_deref().map(|wwn| text("wwn", &format!("0x{wwn}"))).unwrap_or_default();
        // 1 is a disk that does not rotate (SBC-3 section 6.5.3).
        let rate = self.rotational.map(|rotates| if rotates { 7200 } else { 1 });
        let rate = rate.map(|rate| format!(",rotation_rate={rate}")).unwrap_or_default();
        let model = |name: &str| self.model.as_deref().map(|model| text(name, model)).unwrap_or_default();
        let device = match self.bus {
            Bus::Virtio => "-device virtio-blk-pci".to_owned(),
            Bus::Scsi => format!("-device virtio-scsi-pci -device scsi-hd{wwn}{rate}{}", model("product")),
            Bus::Sata => format!("-device ide-hd,bus=ide.0{wwn}{rate}{}", model("model")),
            Bus::Nvme => "-device nvme".to_owned(),
        };
        format!("{device},drive={drive},bootindex=2{}", text("serial", &self.serial))
    }
}

/// Of a World Wide Name or a part of it; what is missing at its end is filled up.
fn digits(wwn: &str) -> Result<String, String> {
    let own = wwn.replacen("0x", "", 1);
    let own = own.strip_prefix("naa.").unwrap_or(&own);
    let is_name = own.len() <= WWN_DIGITS && own.bytes().all(|digit| digit.is_ascii_hexdigit());
    match is_name {
        true => Ok(format!("{own:0<WWN_DIGITS$}")),
        false => Err(format!("a World Wide Name has {WWN_DIGITS} hexadecimal digits there, not `{wwn}`")),
    }
}

/// A value inside an option of QEMU: commas are doubled; blanks survive the splitting into words.
pub(super) fn escaped(text: &str) -> String {
    text.replace(',', ",,").replace(' ', "\t")
}

impl Bus {
    /// The bus on which Linux gives a disk this name; virtio for any other name.
    pub fn of(disk: &str) -> Bus {
        match disk.strip_prefix("/dev/").unwrap_or(disk) {
            name if name.starts_with("sd") => Bus::Scsi,
            name if name.starts_with("nvme") => Bus::Nvme,
            _ => Bus::Virtio,
        }
    }

    /// The longest serial number, in bytes.
    const fn serial_max(self) -> usize {
        match self {
            Bus::Scsi => 36,
            Bus::Virtio | Bus::Sata | Bus::Nvme => 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_disk_has_the_name_that_the_manifest_uses() {
        assert_eq!(Bus::of("/dev/sda"), Bus::Scsi);
        assert_eq!(Bus::of("sda"), Bus::Scsi);
        assert_eq!(Bus::of("/dev/nvme0n1"), Bus::Nvme);
        assert_eq!(Bus::of("/dev/vda"), Bus::Virtio);
        assert_eq!(Bus::of("/dev/disk/by-id/x"), Bus::Virtio);
        assert_eq!(Disk::on(Bus::Nvme).options("d"), "-device nvme,drive=d,bootindex=2,serial=voldemort");
    }

    #[test]
    fn a_disk_is_as_its_hints_say() {
        let none = Hints::default;
        let usual = "drive=d,bootindex=2";
        for (hints, options, bytes) in [
            (
                Hints { serial: some("S 1,2"), ..none() },
                format!("-device virtio-blk-pci,{usual},serial=S\t1,,2"),
                20,
            ),
            (
                Hints { serial: some("a-serial-number-of-more-than-20"), ..none() },
                format!(
                    "-device virtio-scsi-pci -device scsi-hd,{usual},serial=a-serial-number-of-more-than-20"
                ),
                20,
            ),
            (
                Hints { wwn: some("0x5000c500"), rotational: Some(false), model: some("ACME"), ..none() },
                format!(
                    "-device virtio-scsi-pci -device scsi-hd,wwn=0x5000c50000000000,rotation_rate=1,product=ACME,{usual},serial=voldemort"
                ),
                20,
            ),
            (
                Hints {
                    transport: some("sata"),
                    rotational: Some(true),
                    min_size: Some(200 << 30),
                    ..none()
                },
                format!("-device ide-hd,bus=ide.0,rotation_rate=7200,{usual},serial=voldemort"),
                200,
            ),
            (
                Hints { transport: some("nvme"), model: some("QEMU"), max_size: Some(8 << 30), ..none() },
                format!("-device nvme,{usual},serial=voldemort"),
                8,
            ),
        ] {
            let disk = Disk::like(&hints).unwrap();
            assert_eq!((disk.options("d"), disk.bytes), (options, bytes << 30), "{hints}");
        }
    }

    #[test]
    fn what_qemu_has_no_disk_for_is_said() {
        let none = Hints::default;
        let nvme = || Hints { transport: some("nvme"), ..none() };
        for (hints, words) in [
            (Hints { transport: some("sas"), ..none() }, "nvme, sata or virtio, not sas"),
            (Hints { serial: some(&"x".repeat(40)), ..none() }, "at most 36 characters"),
            (Hints { serial: some(&"x".repeat(21)), ..nvme() }, "at most 20 characters"),
            (Hints { wwn: some("eui.0025388b01234567"), ..none() }, "16 hexadecimal digits"),
            (Hints { wwn: some("5000c500a1b2c3d4"), ..nvme() }, "no World Wide Name"),
            (Hints { model: some("Samsung"), ..nvme() }, NVME_MODEL),
            (Hints { rotational: Some(true), ..nvme() }, "does not rotate"),
            (Hints { model: some("Samsung SSD 980 PRO"), ..none() }, "at most 16 characters"),
        ] {
            let why = Disk::like(&hints).unwrap_err();
            assert!(why.contains(words), "{hints}: {why}");
        }
    }
}
