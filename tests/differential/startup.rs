//! First packets: T57, T58, B3 to B7, B28, B35. Nothing is trusted, least of all a length.

use crate::common::raw::V3;
use crate::common::stage::{PROTOCOL_3, Stage};
use crate::common::wire::unhex;
use crate::common::{Raw, msg};
use crate::scripts;

/// A startup packet of exactly this many bytes for the target's user, filled up with a long application name.
fn startup_of(s: &Stage<'_>, len: usize) -> Vec<u8> {
    let target = s.target();
    let with = |name: &str| {
        msg::startup(
            V3,
            &[("user", &target.user), ("database", &target.database), ("application_name", name)],
        )
    };
    with(&"a".repeat(len - with("").len()))
}

scripts! {
    t36_a_reset_among_other_statements_goes_back_to_the_startup_packet => |s: &mut Stage<'_>| {
        s.enter("A", PROTOCOL_3, &[("work_mem", "7MB")]);
        let texts = [
            "close all; unlisten *; reset all",
            "reset work_mem; select 1",
            "reset work_mem; set work_mem = '5MB'",
            "begin; reset all; rollback",
        ];
        for text in texts {
            s.query("A", "set work_mem = '9MB'");
            s.query("A", text);
            s.query("A", "show work_mem");
        }
        s.lives("B");
    };
    b3_b4_b5_b6_nonsense_lengths_of_a_first_packet_close => |s: &mut Stage<'_>| {
        let packets = [
            "00000000",
            "00000003",
            "00000007 000300",
            "7fffffff 00030000",
            "ffffffff",
            "80000000",
            // GET / HTTP/1.0
            "47455420 2f204854 54502f31 2e300d0a 0d0a",
        ];
        for packet in packets {
            s.first("X", &unhex(packet));
            s.end("X");
        }
        s.lives("B");
    };
    b7_a_startup_packet_without_its_terminator_is_refused => |s: &mut Stage<'_>| {
        s.first("X", &unhex("00000010 00030000 75736572 00626f62"));
        s.end("X");
        s.first("X", &unhex("0000001b 00030000 75736572 00626f62 00646174 61626173 650000"));
        s.end("X");
    };
    b28a_protocol_two_is_refused_in_its_own_format => |s: &mut Stage<'_>| {
        s.first("X", &unhex("00000008 00020000"));
        let said = s.bytes_to_end("X");
        let fits = said.starts_with('E') && said.contains("unsupported frontend protocol 2.0") && said.ends_with('\0');
        s.note("X", &format!("refused in the old format: {fits}"));
    };
    b28b_t56_t57_unknown_protocol_options_are_named_once => |s: &mut Stage<'_>| {
        s.enter("A", 0x0003_270f, &[("_pq_.x", "y")]);
        s.lives("A");
        s.enter("B", PROTOCOL_3, &[("_pq_.foo", "1"), ("_pq_.bar", "2")]);
        s.lives("B");
    };
    r70_a_second_request_for_tls_is_refused => |s: &mut Stage<'_>| {
        s.first("X", &msg::ssl_request());
        s.byte("X");
        s.say("X", &msg::ssl_request());
        s.end("X");
    };
    b35a_the_largest_startup_packet_is_accepted => |s: &mut Stage<'_>| {
        let packet = startup_of(s, 10_004);
        s.first("X", &packet);
        let welcomed = s.actor("X").until_ready().iter().all(|m| m.tag != b'E');
        s.note("X", &format!("welcomed: {welcomed}"));
        s.query("X", "show application_name");
    };
    b35b_a_startup_packet_above_the_limit_closes => |s: &mut Stage<'_>| {
        let packet = startup_of(s, 10_005);
        s.first("X", &packet);
        s.end("X");
    };
    b35c_r75_a_user_is_needed => |s: &mut Stage<'_>| {
        s.first("X", &unhex("00000009 00030000 00"));
        s.end("X");
        s.first("X", &msg::startup(V3, &[("user", ""), ("database", "app")]));
        s.end("X");
    };
    s23_a_startup_packet_may_come_in_any_pieces => |s: &mut Stage<'_>| {
        let packet = startup_of(s, 120);
        for cut in (0..packet.len()).step_by(7) {
            s.first("X", &packet[..cut]);
            std::thread::sleep(std::time::Duration::from_millis(2));
            s.say("X", &packet[cut..]);
            let welcomed = s.actor("X").until_ready().iter().all(|m| m.tag != b'E');
            s.note("X", &format!("cut at {cut}, welcomed: {welcomed}"));
        }
    };
    t16_the_same_parameters_are_reported_at_login => |s: &mut Stage<'_>| {
        let raw = s.actor("A");
        let mut reported: Vec<String> =
            raw.welcome.iter().filter(|m| m.tag == b'S').map(crate::common::Message::full).collect();
        reported.sort();
        s.note("A", &reported.join(" "));
    };
}

/// PostgreSQL may be built with GSS and then says `G`; the pooler is not, so this has no reference.
#[test]
fn t58_gss_then_tls_are_refused_one_after_the_other() {
    if crate::oracle_only("t58", &[], &Vec::new) {
        return;
    }
    let pooler = crate::pooled("session", 10);
    let mut raw = Raw::connect(&pooler.target().addr()).unwrap();
    for request in [msg::gss_request(), msg::ssl_request()] {
        raw.send(&request);
        assert_eq!(raw.byte().unwrap(), b'N');
    }
    let target = pooler.target();
    raw.send(&msg::startup(V3, &[("user", &target.user), ("database", &target.database)]));
    assert!(raw.until_ready().iter().all(|m| m.tag != b'E'));
}
