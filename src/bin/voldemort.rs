use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(command) if command == "internal-fetch" => voldemort::source::git::fetch_main(arguments).into(),
        _ => ExitCode::SUCCESS,
    }
}
