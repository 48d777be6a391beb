//! Which test holds which row of the protocol sheet: section and row, file, test. A test that is
//! gone or renamed is noticed here. Rows for clients, for installers' templates (section 7) and for
//! power (section 8) are not a boot server's.

use std::path::Path;

const SHEET: &str = "tests/dhcp/sheet.rs";
const EXCHANGE: &str = "tests/dhcp/exchange.rs";
const SUITE: &str = "tests/dhcp/conformance.rs";
const OPTIONS: &str = "tests/dhcp/options.rs";
const BATTERY: &str = "tests/dhcp/battery/wire.rs";
const STATES: &str = "tests/dhcp/battery/state.rs";
const SUITE6: &str = "tests/dhcp/conformance6.rs";
const V6: &str = "tests/dhcp/ipv6.rs";
const CLIENT: &str = "src/proto/dhcp/client.rs";
const REPLY: &str = "src/proto/dhcp/reply.rs";
const WIRE: &str = "src/proto/dhcp/wire/tests.rs";
const TREE: &str = "src/proto/tree/tests.rs";
const PATHS: &str = "src/proto/path.rs";
const SENDER: &str = "src/proto/tftp/sender_tests.rs";
const TFTP: &str = "tests/it/tftp.rs";
const HTTP: &str = "tests/it/http.rs";
const HTTP_REPLY: &str = "src/proto/http/reply_tests.rs";
const NETNS: &str = "tests/netns/dhcp.rs";
const QEMU: &str = "tests/qemu/firmware.rs";
const QEMU6: &str = "tests/qemu/ipv6.rs";
const SIEGE: &str = "tests/it/siege.rs";
const LOSSY: &str = "tests/it/lossy.rs";
const BESIDE: &str = "tests/qemu/beside.rs";

type Row = (&'static str, &'static str, &'static str);

const RULES: [Row; 22] = [
    ("0.1", HTTP_REPLY, "every_header_name_is_title_case"),
    ("0.2", HTTP, "ranges_of_files_and_of_memory"),
    ("0.3", PATHS, "spellings_of_one_name_meet"),
    ("0.4", SHEET, "file_and_server_stand_in_every_field_that_anybody_reads"),
    ("0.5", REPLY, "copies_echoes_and_pads"),
    ("0.6", REPLY, "a_long_url_is_in_option_67_alone"),
    ("0.7", EXCHANGE, "a_fixed_address_needs_no_lease"),
    ("0.7 iPXE", EXCHANGE, "machines_without_a_deployment_boot_all_the_same"),
    ("0.8", EXCHANGE, "the_boot_server_answers_beside_our_own_dhcp_too"),
    ("0.9", EXCHANGE, "uefi_http_and_missing_loaders"),
    ("0.10", CLIENT, "tells_ipxe_by_any_of_its_marks"),
    ("0.10 loops", "src/state/looping.rs", "a_loader_that_never_runs_is_told_of_once"),
    ("0.11", NETNS, "a_relay_is_answered_by_whatever_interface_it_reaches_us"),
    ("0.12", EXCHANGE, "relays_choose_the_subnet_and_get_the_answer"),
    ("0.13", REPLY, "copies_echoes_and_pads"),
    ("0.14", SHEET, "seconds_are_not_looked_at"),
    ("0.15", EXCHANGE, "init_reboot_is_confirmed_refused_or_left_to_others"),
    ("0.16", SENDER, "size_probes_are_no_failures"),
    ("0.17", TFTP, "refusals_come_at_once_from_the_transfer_port"),
    ("0.18", SENDER, "block_numbers_roll_over"),
    ("0.19", "src/render/ipxe.rs", "one_initrd"),
    ("0.20", "src/render/ipxe.rs", "local_boots"),
];

const DHCP: [Row; 51] = [
    ("1.1 layout", SUITE, "fields_are_copied_or_cleared"),
    ("1.1 sizes", SHEET, "answers_fit_into_one_frame"),
    ("1.1 InfiniBand", SHEET, "infiniband_is_refused_by_name"),
    ("1.2 rows 1 to 4", SUITE, "renewing_rebinding_and_the_flag_say_where_the_answer_goes"),
    ("1.2 NAK", SHEET, "answers_echo_what_they_must"),
    ("1.2 INFORM", SHEET, "an_inform_without_an_address_is_answered_where_it_came_from"),
    ("1.2 without raw sockets", NETNS, "without_raw_sockets_answers_are_broadcast"),
    ("1.3 SELECTING", EXCHANGE, "a_full_range_says_so"),
    ("1.3 SELECTING lost", SHEET, "an_offer_that_is_not_taken_is_dropped"),
    ("1.3 INIT-REBOOT", EXCHANGE, "init_reboot_is_confirmed_refused_or_left_to_others"),
    ("1.3 RENEWING", EXCHANGE, "most_of_a_lease_is_confirmed_without_writing"),
    ("1.3 REBINDING", EXCHANGE, "a_lease_is_found_again_after_a_restart_and_after_its_end"),
    ("1.3 broken client", SUITE, "a_request_without_an_address_is_refused"),
    ("1.3 DISCOVER", SUITE, "a_wish_counts_if_it_can_be_had"),
    ("1.3 OFFER and ACK", SUITE, "an_offer_is_repeated_and_the_ack_says_the_same"),
    ("1.3 NAK", SHEET, "answers_echo_what_they_must"),
    ("1.3 DECLINE", EXCHANGE, "decline_and_release"),
    ("1.3 INFORM", EXCHANGE, "inform_gets_parameters_and_no_lease"),
    ("1.3 SELECTING, NAK", STATES, "request_in_every_state"),
    ("1.3 RENEWING, NAK", STATES, "request_in_every_state"),
    ("1.3 RELEASE", STATES, "decline_release_and_inform"),
    ("1.3 without 54", SHEET, "giving_back_needs_no_server_id"),
    ("1.4 T1, T2", SUITE, "times_are_a_half_and_seven_eighths_and_a_shorter_lease_may_be_asked_for"),
    ("1.4 offers", EXCHANGE, "one_machine_keeps_one_address_through_all_its_client_ids"),
    ("1.4 conflicts", NETNS, "an_address_that_somebody_uses_already_is_put_aside"),
    ("1.4 persistence", "tests/netns/storm.rs", "no_acknowledged_lease_is_lost_and_no_address_given_twice"),
    ("1.5 stages", EXCHANGE, "one_machine_keeps_one_address_through_all_its_client_ids"),
    ("1.5 order", SHEET, "a_machine_is_known_by_card_then_client_id_then_uuid"),
    ("1.5 odd ids", WIRE, "odd_values_of_hints_are_ignored"),
    ("1.6 RFC 3396", OPTIONS, "long_values_are_split_and_joined_by_rfc_3396"),
    ("1.6 overload", SUITE, "overloaded_fields_hold_options"),
    ("1.6 82", EXCHANGE, "relays_choose_the_subnet_and_get_the_answer"),
    ("1.6 82.5, 82.11", EXCHANGE, "a_relay_may_name_the_link_and_speak_for_us"),
    ("1.6 82.1, 82.2", WIRE, "reads_what_a_relay_adds"),
    ("1.6 118", SUITE, "a_relay_s_client_may_select_a_subnet"),
    ("1.6 118 not followed", BATTERY, "what_relays_add_is_followed_and_sent_back"),
    ("1.6 61", SUITE, "odd_client_ids_are_sent_back_and_tell_nobody_apart"),
    ("1.6 77", CLIENT, "tells_ipxe_by_any_of_its_marks"),
    ("1.6 55", SHEET, "pxe_options_need_not_be_asked_for"),
    ("1.6 3, 121", "src/desired/dhcp_options.rs", "routes_are_packed_as_in_the_examples_of_rfc_3442"),
    ("1.6 12, 17, 26, 150", OPTIONS, "options_of_subnet_machine_profile_and_deployment_lie_over_each_other"),
    ("1.6 43, 66", OPTIONS, "what_firmware_needs_wins_over_the_inventory"),
    ("1.6 116, 85 to 87", SHEET, "some_options_are_never_sent"),
    ("1.6 108", SHEET, "ipv6_only_is_never_said_to_firmware"),
    ("1.6 strings", SHEET, "host_names_may_be_any_bytes"),
    ("1.6 dhcproto", WIRE, "reads_lists_joined_and_overloaded_options"),
    ("1.7 sockets", NETNS, "a_relay_is_answered_by_whatever_interface_it_reaches_us"),
    ("1.7 server id", OPTIONS, "a_machine_is_sent_to_the_address_of_ours_on_its_network"),
    ("1.8", V6, "each_firmware_gets_its_boot_file"),
    ("1.8 option 60", SUITE6, "parameters_of_the_boot_file_are_not_sent"),
    ("1.8 real", QEMU6, "uefi_pxe_boots_by_ipv6_alone"),
];

const FIRMWARE: [Row; 40] = [
    ("2.1", SHEET, "every_architecture_type_has_its_program"),
    ("2.1 U-Boot", SHEET, "u_boot_and_its_like_are_known_by_class_or_type"),
    ("2.2", SHEET, "every_architecture_type_has_its_program"),
    ("2.3 6, 255", EXCHANGE, "a_fixed_address_needs_no_lease"),
    ("2.3 71", SHEET, "a_boot_item_is_echoed"),
    ("2.4 DhcpPxe10", EXCHANGE, "a_fixed_address_needs_no_lease"),
    ("2.4 ProxyBinl", SHEET, "a_proxy_says_what_each_firmware_takes"),
    ("2.4 option 13", SHEET, "some_options_are_never_sent"),
    ("2.5", SHEET, "a_proxy_says_what_each_firmware_takes"),
    ("2.5 BIOS, real", BESIDE, "a_bios_machine_boots_by_proxy"),
    ("2.5 UEFI, real", BESIDE, "a_uefi_machine_boots_by_proxy_and_port_4011"),
    ("2.5 strangers", EXCHANGE, "other_modes_say_less"),
    ("2.6", SHEET, "file_and_server_stand_in_every_field_that_anybody_reads"),
    ("2.7", EXCHANGE, "uefi_http_and_missing_loaders"),
    ("2.7 types", TREE, "boot_programs_have_the_type_that_firmware_wants"),
    ("2.7 real", QEMU, "uefi_http_boot_installs_once_and_boots_its_disk"),
    ("2.8 Raspberry Pi", SHEET, "a_raspberry_pi_gets_its_menu_and_no_pc_program"),
    ("2.8 Raspberry Pi, files", TREE, "a_raspberry_pi_finds_its_files_by_its_own_names"),
    ("2.8 U-Boot", TREE, "every_name_that_a_loader_looks_for_is_the_machines_script"),
    ("2.8 Petitboot", SHEET, "petitboot_is_told_its_configuration"),
    ("2.8 s390x", SHEET, "u_boot_and_its_like_are_known_by_class_or_type"),
    ("2.8 Apple", SHEET, "apples_own_network_boot_is_no_pxe"),
    ("2.8 FlexBoot, VirtualBox", SHEET, "ipxe_that_can_not_boot_by_http_is_chained_by_url"),
    ("3.1", CLIENT, "tells_ipxe_by_any_of_its_marks"),
    ("3.2 level 2", EXCHANGE, "machines_without_a_deployment_boot_all_the_same"),
    ("3.2 level 3", SHEET, "ipxe_that_can_not_boot_by_http_is_chained_by_url"),
    ("3.2 level 4", "src/state/looping.rs", "a_loader_that_never_runs_is_told_of_once"),
    ("3.2 autoexec", TREE, "every_name_that_a_loader_looks_for_is_the_machines_script"),
    ("3.4 form", "src/render/ipxe.rs", "one_initrd"),
    ("3.4 initrds", "src/render/ipxe.rs", "several_initrds_and_none"),
    ("3.4 exit", "src/render/ipxe.rs", "local_boots"),
    ("3.4 Secure Boot", TREE, "shim_and_ipxe_find_what_they_look_for_beside_them"),
    ("4.1", TREE, "every_name_that_a_loader_looks_for_is_the_machines_script"),
    ("4.1 real", BESIDE, "pxelinux_finds_its_configuration"),
    ("4.2", TREE, "every_name_that_a_loader_looks_for_is_the_machines_script"),
    ("4.2 quotes", "src/render/grub.rs", "refuses_what_grub_distorts"),
    ("4.3", TREE, "shim_and_ipxe_find_what_they_look_for_beside_them"),
    ("4.3 real", QEMU, "secure_boot_boots_the_signed_kernel_by_shim_and_grub"),
    ("5.5", PATHS, "tftp_names_are_repaired"),
    ("5.5 MAC", TREE, "a_folder_named_like_a_card_is_that_machines"),
];

/// Sections 5.1 to 5.4 and 6. Clients of 5.4 and 6 that need nothing of their own (RPi, Windows,
/// ESXi, Talos, dnf) are held by the rows of what they use.
const BYTES: [Row; 29] = [
    ("5.1 RRQ, DATA", TFTP, "without_options_the_first_answer_is_block_one"),
    ("5.1 WRQ, errors 1, 2, 4", TFTP, "refusals_come_at_once_from_the_transfer_port"),
    ("5.1 error 5", TFTP, "a_stranger_is_told_so_and_the_transfer_goes_on"),
    ("5.1 single port", TFTP, "a_single_port_serves_many_at_once"),
    ("5.2 blksize, tsize, windowsize, OACK", TFTP, "every_option_is_answered_and_every_size_arrives"),
    ("5.2 limits", "src/proto/tftp/options.rs", "never_more_than_fits"),
    ("5.3 window", SENDER, "an_acknowledgement_inside_the_window_moves_it"),
    ("5.3 window, lost start", TFTP, "a_lost_window_start_is_repeated"),
    ("5.3 duplicate ACK", SENDER, "the_sorcerers_apprentice_stays_idle"),
    ("5.3 time-out", SENDER, "silence_ends_a_transfer_after_half_a_minute"),
    ("5.3 last block", SENDER, "the_last_block_may_be_empty"),
    ("5.3 roll-over", SENDER, "block_numbers_roll_over"),
    ("5.3 netascii", TFTP, "text_is_translated_for_old_switches"),
    ("5.3 abort", TFTP, "probes_and_aborts_end_at_once"),
    ("5.4 EDK2, Intel", SENDER, "size_probes_are_no_failures"),
    ("5.4 others", LOSSY, "the_clients_people_run_survive_a_bad_network"),
    ("6 EDK2", HTTP, "one_connection_serves_request_after_request"),
    ("6 EDK2, resume", HTTP_REPLY, "a_download_of_other_bytes_is_not_gone_on_with"),
    ("6 GRUB, U-Boot", HTTP_REPLY, "every_header_name_is_title_case"),
    ("6 lpxelinux, U-Boot 1.0", HTTP, "old_clients_get_old_answers"),
    ("6 archiso, iPXE", HTTP, "ranges_of_files_and_of_memory"),
    ("6 coreos", SIEGE, "heads_say_what_a_get_would"),
    ("6 apt", HTTP, "pipelined_requests_are_answered_in_order"),
    ("6 apt, conditions", HTTP_REPLY, "what_the_client_has_is_not_sent_again"),
    ("6 dracut, curl", HTTP, "curl_agrees"),
    ("6 single ranges", HTTP_REPLY, "parts_say_which_part"),
    ("6 half-close", HTTP, "a_client_that_has_said_everything_is_still_answered"),
    ("6 slow readers", HTTP, "a_client_that_takes_nothing_is_given_up"),
    ("6 names", HTTP, "what_is_no_request_is_told_so_and_the_connection_ends"),
];

/// Section 10; the rows left out concern a client (29 and 30 are 0.19), an installer (45, 46), a controller
/// (48, 49, 51) or a network that can't be changed here (10, 18, 33 to 35, 43).
const QUIRKS: [Row; 35] = [
    ("10.1", HTTP_REPLY, "every_header_name_is_title_case"),
    ("10.2", HTTP_REPLY, "every_header_name_is_title_case"),
    ("10.3", HTTP_REPLY, "the_whole_content_byte_for_byte"),
    ("10.4", PATHS, "spellings_of_one_name_meet"),
    ("10.5", SHEET, "a_proxy_says_what_each_firmware_takes"),
    ("10.6", CLIENT, "tells_ipxe_by_any_of_its_marks"),
    ("10.7", EXCHANGE, "machines_without_a_deployment_boot_all_the_same"),
    ("10.8", EXCHANGE, "a_fixed_address_needs_no_lease"),
    ("10.9", SHEET, "a_proxy_says_what_each_firmware_takes"),
    ("10.11", SHEET, "ipxe_that_can_not_boot_by_http_is_chained_by_url"),
    ("10.12", SHEET, "ipxe_that_can_not_boot_by_http_is_chained_by_url"),
    ("10.13", EXCHANGE, "a_fixed_address_needs_no_lease"),
    ("10.14", EXCHANGE, "relays_choose_the_subnet_and_get_the_answer"),
    ("10.15", REPLY, "copies_echoes_and_pads"),
    ("10.16", NETNS, "udhcpc_gets_a_dynamic_address_renews_and_gives_it_back"),
    ("10.17", NETNS, "udhcpc_gets_a_dynamic_address_renews_and_gives_it_back"),
    ("10.19", PATHS, "tftp_names_are_repaired"),
    ("10.20", SHEET, "file_and_server_stand_in_every_field_that_anybody_reads"),
    ("10.21", SHEET, "a_proxy_says_what_each_firmware_takes"),
    ("10.22", TREE, "shim_and_ipxe_find_what_they_look_for_beside_them"),
    ("10.23", SHEET, "u_boot_and_its_like_are_known_by_class_or_type"),
    ("10.24", SENDER, "size_probes_are_no_failures"),
    ("10.25", TFTP, "every_option_is_answered_and_every_size_arrives"),
    ("10.26", "src/proto/tftp/options.rs", "never_more_than_fits"),
    ("10.27", TFTP, "files_of_more_blocks_than_numbers_arrive"),
    ("10.28", TFTP, "replies_come_from_the_address_that_was_asked"),
    ("10.31", "tests/dhcp/boot_file.rs", "every_client_gets_its_program"),
    ("10.36", "src/render/ipxe.rs", "local_boots"),
    ("10.37", "tests/netns/spine.rs", "a_machine_installs_once_whatever_happens_to_the_daemon"),
    ("10.38", QEMU, "bios_installs_once_and_boots_its_disk"),
    ("10.39", TREE, "every_name_that_a_loader_looks_for_is_the_machines_script"),
    ("10.41", SHEET, "a_raspberry_pi_gets_its_menu_and_no_pc_program"),
    ("10.42", SHEET, "a_raspberry_pi_gets_its_menu_and_no_pc_program"),
    ("10.44", TREE, "a_raspberry_pi_finds_its_files_by_its_own_names"),
    ("10.47", SUITE6, "parameters_of_the_boot_file_are_not_sent"),
];

#[test]
fn every_row_is_held_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (row, file, test) in RULES.iter().chain(&DHCP).chain(&FIRMWARE).chain(&BYTES).chain(&QUIRKS) {
        let text =
            std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{row}: {file}: {error}"));
        assert!(text.contains(&format!("fn {test}(")), "{row}: {file} has no test {test}");
    }
}
