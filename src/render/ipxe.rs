//! iPXE scripts, for versions from Debian's of 2019 to 2.0.
//!
//! How iPXE reads a line (src/core/exec.c, unchanged between those versions): it is split at
//! white space; a word that is `||`, `&&` or `;`, or begins with `#`, ends the command; then
//! each word has its `${…}` filled in, again and again until none is left. There are no quotes.

use std::fmt::Write;

use super::CmdlineError;
use crate::model::{Firmware, Mac};

/// How often each file is asked for, and the seconds between: a daemon that is started anew, or a switch port
/// that comes up, is waited for.
const TRIES: u8 = 8;
const PAUSE: u8 = 3;
/// How often where a file is still being made: five minutes.
const PATIENT_TRIES: u8 = 100;

/// A boot to write down.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub kernel_url: String,
    pub initrd_urls: Vec<String>,
    /// Words of the kernel command line, without `initrd=`.
    pub cmdline: Vec<String>,
    /// For people who read the script or the console: what is booted here, for whom and why.
    pub comment: String,
    /// One of the files is still being made, and asked for until it is there.
    pub unfinished: bool,
}

/// Loads kernel and initrds and starts them. Kernels before 5.7 under UEFI find an initrd only
/// by the name on their command line, so each has one there; BIOS iPXE does not mind.
pub fn install(script: &Script) -> Result<String, CmdlineError> {
    let names = names(script.initrd_urls.len());
    let mut out = String::from("#!ipxe\n");
    let comment = shown_text(&script.comment);
    line(&mut out, &["echo", "voldemort:", &comment]);
    let mut kernel = vec!["kernel --name linux".to_owned(), url(&script.kernel_url)?];
    kernel.extend(names.iter().map(|name| format!("initrd={name}")));
    for word in &script.cmdline {
        kernel.push(argument(word)?);
    }
    for setting in settings(&kernel) {
        out.push_str(setting);
    }
    let _ = write!(out, "set tries:int32 0\n:load\n");
    kernel.push("|| goto again".to_owned());
    line(&mut out, &kernel);
    for (name, initrd) in names.iter().zip(&script.initrd_urls) {
        line(&mut out, &["initrd --name", name, &url(initrd)?, "|| goto again"]);
    }
    let tries = if script.unfinished { PATIENT_TRIES } else { TRIES };
    let _ = write!(
        out,
        "boot || goto fail\n\
         :again\n\
         inc tries\n\
         iseq ${{tries}} {tries} && goto fail ||\n\
         echo voldemort: not fetched, the reason is above: trying again\n\
         sleep {PAUSE}\n\
         imgfree\n\
         goto load\n\
         :fail\n"
    );
    line(&mut out, &["echo voldemort: this boot failed, the reason is above:", &comment]);
    out.push_str("sleep 30\nexit 1\n");
    Ok(out)
}

/// Fetches and becomes the script at `url`, which is written in iPXE's syntax.
pub fn chain(url: &str) -> String {
    format!("#!ipxe\n{}", chaining(url))
}

/// `--replace`: the end of the script at `url` does not count as a failed fetch.
fn chaining(url: &str) -> String {
    format!(
        "set tries:int32 0\n\
         :chain\n\
         chain --replace {url} ||\n\
         inc tries\n\
         iseq ${{tries}} {TRIES} && exit 1 ||\n\
         sleep {PAUSE}\n\
         goto chain\n"
    )
}

/// The same for an iPXE that has no address yet. The EFI builds since 2024 (Debian 13's, 2.0) read `autoexec.ipxe` by the
/// firmware's own network, which they shut down then, and run it in the place of all that they would do by themselves.
/// The `card` that booted is asked first: another may have a link, too.
pub fn chain_without_address(card: Option<Mac>, url: &str) -> String {
    let own = card.map_or_else(String::new, |card| {
        format!(
            "set card:int32 0\n\
             :look\n\
             isset ${{net${{card}}/mac}} || goto any\n\
             iseq ${{net${{card}}/mac}} {card} && goto own ||\n\
             inc card\n\
             goto look\n\
             :own\n\
             ifconf net${{card}} && goto up ||\n\
             :any\n"
        )
    });
    let chaining = chaining(url);
    format!("#!ipxe\nisset ${{netX/ip}} && goto up ||\n{own}ifconf || exit 1\n:up\n{chaining}")
}

/// Continues with the local disk. `exit 1` makes UEFI take its next boot entry, where `exit 0` ends in the
/// set-up screen of some machines; a BIOS ROM starts the first disk more reliably when iPXE does so itself.
pub fn local_boot(firmware: Option<Firmware>, reason: &str) -> String {
    let mut out = String::from("#!ipxe\n");
    line(&mut out, &["echo voldemort: booting the local disk:", &shown_text(reason)]);
    let disk = "sanboot --no-describe --drive 0x80 || exit 1\n";
    out.push_str(match firmware {
        Some(Firmware::Uefi | Firmware::UefiHttp) => "exit 1\n",
        Some(Firmware::Bios) => disk,
        None => "iseq ${platform} efi && exit 1 ||\n",
    });
    if firmware.is_none() {
        out.push_str(disk);
    }
    out
}

/// One initrd is `main`. More need one name each.
fn names(count: usize) -> Vec<String> {
    match count {
        1 => vec!["main".to_owned()],
        _ => (1..=count).map(|number| format!("part{number}")).collect(),
    }
}

fn line<T: AsRef<str>>(out: &mut String, words: &[T]) {
    for (at, word) in words.iter().map(T::as_ref).filter(|word| !word.is_empty()).enumerate() {
        // Writing to a String can't fail.
        let _ = write!(out, "{}{word}", if at > 0 { " " } else { "" });
    }
    out.push('\n');
}

fn unfit(word: &str, reason: &'static str) -> CmdlineError {
    CmdlineError::Unfit { word: word.to_owned(), loader: "iPXE", reason }
}

/// A URL is one word as it is; the code that makes it has escaped the rest.
fn url(url: &str) -> Result<String, CmdlineError> {
    let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '{' | '}' | '\\' | '|');
    match url.chars().any(odd) || url.starts_with(['-', '#']) || url.is_empty() {
        true => Err(unfit(url, "it is not a URL")),
        false => Ok(url.to_owned()),
    }
}

/// Texts that end a command, and the settings that stand for them.
const STAND_INS: [(&str, &str, &str); 5] = [
    ("||", "${or:string}", "set or:hex 7c:7c\n"),
    ("&&", "${and:string}", "set and:hex 26:26\n"),
    (";", "${semicolon:string}", "set semicolon:hex 3b\n"),
    ("#", "${hash:string}", "set hash:hex 23\n"),
    (" ", "${space:string}", "set space:hex 20\n"),
];

fn stand_in(text: &str) -> Option<&'static str> {
    STAND_INS.iter().find(|(plain, ..)| *plain == text).map(|(_, setting, _)| *setting)
}

/// The lines that define the stand-ins in use.
fn settings(words: &[String]) -> impl Iterator<Item = &'static str> {
    let used = |setting: &str| words.iter().any(|word| word.contains(setting));
    STAND_INS.iter().filter(move |(_, setting, _)| used(setting)).map(|(.., define)| *define)
}

/// A word of the kernel command line. Spaces stay (the kernel has its own quotes); what iPXE
/// would act on is put into a setting, which is filled in after the line has been split.
fn argument(word: &str) -> Result<String, CmdlineError> {
    if word.chars().any(|c| c.is_control()) {
        return Err(unfit(word, "it has a control character"));
    }
    let parts = word.split(' ').map(|part| match (stand_in(part), part.strip_prefix('#')) {
        (Some(setting), _) => setting.to_owned(),
        (None, Some(rest)) => format!("{}{rest}", stand_in("#").unwrap_or_default()),
        (None, None) => part.to_owned(),
    });
    let line = joined(&parts.collect::<Vec<_>>());
    match line.split(' ').any(fills_in) {
        true => Err(unfit(word, "it fills in `${…}` itself and can't be kept from it")),
        false => Ok(line),
    }
}

/// Whether something is left to be filled in once the stand-ins of a word are.
fn fills_in(word: &str) -> bool {
    let filled =
        STAND_INS.iter().fold(word.to_owned(), |word, (plain, setting, _)| word.replace(setting, plain));
    filled.find("${").is_some_and(|at| filled[at..].contains('}'))
}

/// Single spaces between parts are words' ends and come back as they were. More in a row, and
/// those at the ends, have to be settings.
fn joined(parts: &[String]) -> String {
    let space = stand_in(" ").unwrap_or_default();
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            let between = !part.is_empty() && !parts[at - 1].is_empty();
            out.push_str(if between { " " } else { space });
        }
        out.push_str(part);
    }
    out
}

/// Text for people: nothing in it may act.
fn shown_text(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.replace("${", "$ {");
    let words = clean.split_whitespace().map(|word| word.trim_start_matches('#')).map(|word| match word {
        "||" | "&&" | ";" => ",",
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ").trim_end_matches(['\\', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(cmdline: &[&str]) -> Script {
        Script {
            kernel_url: "http://10.0.10.1/debian/install.amd/vmlinuz".to_owned(),
            initrd_urls: vec!["http://10.0.10.1/debian/install.amd/initrd.gz".to_owned()],
            cmdline: cmdline.iter().map(|word| (*word).to_owned()).collect(),
            comment: "installing web-1 (redeploy 2)".to_owned(),
            unfinished: false,
        }
    }

    #[test]
    fn a_file_that_is_being_made_is_asked_for_until_it_is_there() {
        let tries = |unfinished| {
            let text = install(&Script { unfinished, ..script(&[]) }).unwrap();
            let line = text.lines().find(|line| line.starts_with("iseq")).unwrap().to_owned();
            line.split(' ').nth(2).unwrap().parse::<u16>().unwrap()
        };
        assert!(tries(false) * u16::from(PAUSE) < 30, "a machine whose file is gone goes on to its disk");
        assert!(tries(true) * u16::from(PAUSE) >= 300);
    }

    fn kernel_line(cmdline: &[&str]) -> String {
        let text = install(&script(cmdline)).unwrap();
        text.lines().find(|line| line.starts_with("kernel")).unwrap().to_owned()
    }

    #[test]
    fn one_initrd() {
        assert_eq!(
            install(&script(&["auto=true", "---", "console=ttyS0"])).unwrap(),
            "#!ipxe\n\
             echo voldemort: installing web-1 (redeploy 2)\n\
             set tries:int32 0\n\
             :load\n\
             kernel --name linux http://10.0.10.1/debian/install.amd/vmlinuz initrd=main auto=true --- console=ttyS0 || goto again\n\
             initrd --name main http://10.0.10.1/debian/install.amd/initrd.gz || goto again\n\
             boot || goto fail\n\
             :again\n\
             inc tries\n\
             iseq ${tries} 8 && goto fail ||\n\
             echo voldemort: not fetched, the reason is above: trying again\n\
             sleep 3\n\
             imgfree\n\
             goto load\n\
             :fail\n\
             echo voldemort: this boot failed, the reason is above: installing web-1 (redeploy 2)\n\
             sleep 30\n\
             exit 1\n"
        );
    }

    #[test]
    fn several_initrds_and_none() {
        let mut several = script(&[]);
        several.initrd_urls.push("http://10.0.10.1/debian/firmware.cpio".to_owned());
        let text = install(&several).unwrap();
        assert!(text.contains(" initrd=part1 initrd=part2 || goto again\n"), "{text}");
        assert!(text.contains("initrd --name part2 http://10.0.10.1/debian/firmware.cpio || goto again\n"));
        several.initrd_urls.clear();
        assert!(!install(&several).unwrap().contains("initrd"));
    }

    #[test]
    fn what_ipxe_would_act_on_is_put_away() {
        assert!(
            kernel_line(&["ds=nocloud;s=http://a/", "a=b#c", "x&&y"])
                .contains(" ds=nocloud;s=http://a/ a=b#c x&&y || goto")
        );
        let text = install(&script(&["a=\"x || y ; z\"", "#c"])).unwrap();
        assert!(
            text.contains("set or:hex 7c:7c\nset semicolon:hex 3b\nset hash:hex 23\nset tries"),
            "{text}"
        );
        assert!(
            text.contains(" a=\"x ${or:string} y ${semicolon:string} z\" ${hash:string}c || goto again"),
            "{text}"
        );
        assert!(kernel_line(&["a=\"b  c\""]).contains(" a=\"b${space:string}${space:string}c\" || goto"));
    }

    #[test]
    fn what_can_not_be_put_away_is_refused() {
        for bad in ["a=${net0/mac}", "a\nexit", "x${y z}${a}", "a=\"${b  c}\"", "${  }"] {
            assert!(matches!(install(&script(&[bad])), Err(CmdlineError::Unfit { .. })), "{bad}");
        }
        assert!(kernel_line(&["a=${b", "c}"]).contains("a=${b c}"));
        let mut odd = script(&[]);
        for bad in ["http://a/b c", "", "--name", "http://a/${x}", "http://a/\n"] {
            odd.kernel_url = bad.to_owned();
            assert!(install(&odd).is_err(), "{bad}");
        }
    }

    #[test]
    fn comments_can_not_act() {
        let mut odd = script(&[]);
        odd.comment = "a\nshell || reboot ; #|| exit ##&& #x ${password} $#{x} \\".to_owned();
        let text = install(&odd).unwrap();
        assert!(
            text.contains("echo voldemort: a shell , reboot , , exit , x $ {password} $#{x}\nset tries"),
            "{text}"
        );
    }

    #[test]
    fn an_ipxe_without_an_address_asks_for_one_by_the_card_that_booted() {
        let url = "http://10.0.10.1/ipxe/${netX/mac:hexhyp}.ipxe";
        let unknown = chain_without_address(None, url);
        let begin = "#!ipxe\nisset ${netX/ip} && goto up ||\n";
        let end = chain(url).replace("#!ipxe\n", "ifconf || exit 1\n:up\n");
        assert_eq!(unknown, format!("{begin}{end}"));
        let known = chain_without_address(Some("52:54:00:00:00:01".parse().unwrap()), url);
        assert!(known.starts_with(begin) && known.ends_with(&end), "{known}");
        assert!(known.contains("iseq ${net${card}/mac} 52:54:00:00:00:01 && goto own ||\n"), "{known}");
        assert!(known.contains(":own\nifconf net${card} && goto up ||\n:any\n"), "{known}");
    }

    #[test]
    fn local_boots() {
        let head = "#!ipxe\necho voldemort: booting the local disk: web-1 is installed\n";
        let boot = |firmware| local_boot(firmware, "web-1 is installed");
        assert_eq!(boot(Some(Firmware::Uefi)), format!("{head}exit 1\n"));
        assert_eq!(boot(Some(Firmware::UefiHttp)), format!("{head}exit 1\n"));
        let disk = "sanboot --no-describe --drive 0x80 || exit 1\n";
        assert_eq!(boot(Some(Firmware::Bios)), format!("{head}{disk}"));
        assert_eq!(boot(None), format!("{head}iseq ${{platform}} efi && exit 1 ||\n{disk}"));
    }
}
