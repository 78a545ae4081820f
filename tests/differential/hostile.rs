//! Messages after login that are wrong in length, type or body: B9 to B12, B27, B29 to B32, T59.

use crate::common::msg;
use crate::common::stage::Stage;
use crate::common::wire::unhex;
use crate::{fresh, scripts};

/// Says bytes on a connection of its own and reads to its end.
fn ends(s: &mut Stage<'_>, packet: &str) {
    s.lives("X");
    s.say("X", &unhex(packet));
    s.end("X");
    s.leave("X");
}

/// Says bytes, reads to ReadyForQuery, and shows that the session lives.
fn survives(s: &mut Stage<'_>, bytes: &[u8]) {
    s.ask("A", bytes);
    s.lives("A");
}

fn with_sync(packet: &str) -> Vec<u8> {
    [unhex(packet), msg::sync()].concat()
}

scripts! {
    b9_impossible_lengths_close => |s: &mut Stage<'_>| {
        for packet in ["51ffffffff", "5180000000", "5100000003", "5100000000"] {
            ends(s, packet);
        }
        // Inside a transaction too; what it did is undone.
        fresh("drop table if exists b9; create table b9 (n int)");
        s.query("X", "begin; insert into b9 values (1)");
        s.say("X", &unhex("51ffffffff"));
        s.end("X");
        s.query("B", "select count(*) from b9");
    };
    b10_lengths_above_the_limit_close_at_once => |s: &mut Stage<'_>| {
        ends(s, "517fffffff53");
        ends(s, "513fffffff");
        s.lives("B");
    };
    b10b_a_legal_length_is_waited_for => |s: &mut Stage<'_>| {
        s.lives("X");
        s.say("X", &unhex("513ffffffe 73656c656374"));
        s.silence("X");
    };
    b11_a_string_without_its_end_is_an_error => |s: &mut Stage<'_>| {
        survives(s, &unhex("510000000c 53454c4543542031"));
        survives(s, &with_sync("5000000008 61616161"));
    };
    b12_wrong_lengths_inside_a_bind_are_errors => |s: &mut Stage<'_>| {
        s.ask("A", &[msg::parse("s1", "select $1::text"), msg::sync()].concat());
        survives(s, &with_sync("4200000012 00 733100 0000 0001 fffffffe 0000"));
        survives(s, &with_sync("4200000013 00 733100 0000 0001 7ffffff0 41 0000"));
        survives(s, &with_sync("420000000c 00 733100 0000 ffff"));
        s.ask("A", &[msg::bind("", "s1", &[Some("x")]), msg::execute("", 0), msg::sync()].concat());
    };
    b27_t59_unknown_types_end_the_connection => |s: &mut Stage<'_>| {
        ends(s, "0000000004");
        ends(s, "ff00000004");
        ends(s, "7e00000004");
        ends(s, "58000000064141");
    };
    b27_close_and_describe_of_unknown_kinds_are_errors => |s: &mut Stage<'_>| {
        survives(s, &with_sync("4300000008 5a 733100"));
        survives(s, &with_sync("4400000008 00 733100"));
    };
    b27_function_calls_that_are_wrong_are_errors => |s: &mut Stage<'_>| {
        survives(s, &unhex("4600000012 00000001 0000 0001 fffffffe 0000"));
        survives(s, &unhex("4600000012 00000575 0000 0001 fffffffe 0000"));
    };
    b30_bytes_left_over_are_errors => |s: &mut Stage<'_>| {
        survives(s, &unhex("53000000067a7a"));
        survives(s, &with_sync("48000000067a7a"));
        survives(s, &unhex("510000000e 73656c6563742031 00 58"));
        survives(s, &with_sync("420000000d 00 00 0000 0000 0000 58"));
        survives(s, &with_sync("450000000a 00 00000000 58"));
    };
    b31a_a_sync_of_ten_thousand_bytes_is_an_error => |s: &mut Stage<'_>| {
        survives(s, &msg::any(b'S', &[0; 9_996]));
    };
    b31b_a_sync_above_ten_thousand_closes => |s: &mut Stage<'_>| {
        s.lives("X");
        s.say("X", &msg::any(b'S', &[0; 9_997]));
        s.end("X");
        s.lives("B");
    };
    b32_a_password_after_login_ends_the_connection => |s: &mut Stage<'_>| {
        ends(s, "70000000067800");
    };
    r33_r65_nonsense_inside_copy_in_ends_the_connection => |s: &mut Stage<'_>| {
        fresh("drop table if exists r65; create table r65 (n int)");
        for packet in ["7e00000004", "64ffffffff", "6300002711"] {
            s.say("X", &msg::query("copy r65 from stdin"));
            s.until("X", b'G');
            s.say("X", &[msg::copy_data("1\n"), unhex(packet)].concat());
            s.end("X");
            s.leave("X");
        }
        s.query("B", "select count(*) from r65");
    };
    b29_a_query_inside_a_parameter_never_runs_wherever_the_client_is_cut_off => |s: &mut Stage<'_>| {
        fresh("drop table if exists b29; create table b29 (n int)");
        let inner = String::from_utf8(msg::query("drop table b29;")).unwrap();
        let bind = [msg::parse("", "select $1::text"), msg::bind("", "", &[Some(&inner)])].concat();
        for cut in (0..=bind.len()).step_by(3) {
            let raw = s.actor("X");
            raw.send(&bind[..cut]);
            s.leave_rudely("X", cut % 2 == 0);
        }
        s.ask("A", &[bind, msg::execute("", 0), msg::sync()].concat());
        s.query("B", "select count(*) from b29");
    };
}
