//! Settings and other session state, T1 to T13, T27, T33 to T36: each client has its own session, whichever server
//! serves it.

use crate::common::msg;
use crate::common::stage::{PROTOCOL_3, Stage};
use crate::scripts;

/// Sets parameters as A, one by one; B has the defaults, A what it has set.
fn sets(s: &mut Stage<'_>, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        s.query("A", &format!("set {name} = {value}"));
        s.query("B", &format!("show {name}"));
        s.query("A", &format!("show {name}"));
    }
    for (name, _) in settings {
        s.query("B", &format!("show {name}"));
        s.query("A", &format!("show {name}"));
    }
    s.leave("A");
    for (name, _) in settings {
        s.query("B", &format!("show {name}"));
        s.query("C", &format!("show {name}"));
    }
}

/// Logs in with startup parameters; they hold for A, in turn with B, whatever A resets.
fn starts(s: &mut Stage<'_>, parameters: &[(&str, &str)], shown: &[&str]) {
    s.enter("A", PROTOCOL_3, parameters);
    for reset in ["select 'nothing yet'", "reset all", "set work_mem = '9MB'", "discard all"] {
        s.query("A", reset);
        for name in shown {
            s.query("B", &format!("show {name}"));
            s.query("A", &format!("show {name}"));
        }
    }
}

scripts! {
    t1_a_setting_is_its_clients => |s: &mut Stage<'_>| sets(s, &[("work_mem", "'7MB'")]);
    t2_parameters_that_are_reported_follow_their_client => |s: &mut Stage<'_>| {
        sets(s, &[("application_name", "'mine'"), ("timezone", "'Asia/Tokyo'"), ("datestyle", "'German'")]);
    };
    t3_intervalstyle_follows_its_client => |s: &mut Stage<'_>| sets(s, &[("intervalstyle", "'iso_8601'")]);
    t4_parameters_that_are_not_reported_follow_their_client => |s: &mut Stage<'_>| {
        let settings = [
            ("search_path", "pg_catalog, public"),
            ("statement_timeout", "'31s'"),
            ("lock_timeout", "'32s'"),
            ("default_transaction_isolation", "'serializable'"),
        ];
        sets(s, &settings);
    };
    t5_default_transaction_read_only_follows_its_client => |s: &mut Stage<'_>| {
        sets(s, &[("default_transaction_read_only", "on")]);
    };
    t6_a_rollback_undoes_a_setting => |s: &mut Stage<'_>| {
        s.query("A", "set work_mem = '6MB'");
        s.query("A", "begin");
        s.query("A", "set work_mem = '7MB'");
        s.query("A", "show work_mem");
        s.query("A", "rollback");
        s.query("B", "show work_mem");
        s.query("A", "show work_mem");
    };
    t6_a_rollback_to_a_savepoint_undoes_a_setting => |s: &mut Stage<'_>| {
        for sql in ["begin", "set work_mem = '6MB'", "savepoint a", "set work_mem = '7MB'", "select 1/0"] {
            s.query("A", sql);
        }
        s.query("A", "rollback to a");
        s.query("A", "commit");
        s.query("B", "show work_mem");
        s.query("A", "show work_mem");
    };
    t7_set_local_ends_with_its_transaction => |s: &mut Stage<'_>| {
        s.query("A", "begin");
        s.query("A", "set local statement_timeout = '33s'");
        s.query("A", "show statement_timeout");
        s.query("A", "commit");
        s.query("B", "show statement_timeout");
        s.query("A", "show statement_timeout");
    };
    t8_reset_all_goes_back_to_the_startup_packet => |s: &mut Stage<'_>| {
        s.enter("A", PROTOCOL_3, &[("application_name", "startapp")]);
        for reset in ["reset all", "reset application_name", "set application_name to default", "discard all"] {
            s.query("A", "set application_name = 'other'");
            s.query("A", "show application_name");
            s.query("A", reset);
            s.query("A", "show application_name");
            s.query("B", "show application_name");
            s.query("A", "show application_name");
        }
    };
    t9_a_change_of_another_client_is_no_news => |s: &mut Stage<'_>| {
        s.query("A", "set timezone = 'Asia/Tokyo'");
        s.say("B", &msg::query("select 1"));
        let news = s.actor("B").until_ready().iter().filter(|m| m.tag == b'S').count();
        s.note("B", &format!("{news} parameters reported"));
        s.query("A", "show timezone");
    };
    t10_extra_float_digits_of_the_startup_packet => |s: &mut Stage<'_>| {
        starts(s, &[("extra_float_digits", "2")], &["extra_float_digits"]);
    };
    t11_any_parameter_of_the_startup_packet => |s: &mut Stage<'_>| {
        let parameters = [
            ("statement_timeout", "34s"),
            ("search_path", "pg_catalog"),
            ("geqo", "off"),
            ("TimeZone", "Asia/Tokyo"),
            ("default_transaction_read_only", "on"),
        ];
        starts(s, &parameters, &parameters.map(|(name, _)| name));
    };
    t12_one_option_of_the_startup_packet => |s: &mut Stage<'_>| {
        starts(s, &[("options", "-c search_path=pg_catalog")], &["search_path", "statement_timeout"]);
    };
    t12_another_option_of_the_startup_packet => |s: &mut Stage<'_>| {
        starts(s, &[("options", "-c statement_timeout=4s")], &["search_path", "statement_timeout"]);
    };
    t13_several_options_of_the_startup_packet => |s: &mut Stage<'_>| {
        starts(s, &[("options", "-c work_mem=7MB -c geqo=off")], &["work_mem", "geqo"]);
    };
    t13_a_role_among_the_options => |s: &mut Stage<'_>| {
        starts(s, &[("role", "pg_monitor")], &["role", "is_superuser"]);
        s.query("A", "set role none");
        s.query("A", "show is_superuser");
        s.query("A", "reset role");
        s.query("B", "show is_superuser");
        s.query("A", "show is_superuser");
        s.query("A", "begin");
        s.query("A", "set role none");
        s.query("A", "rollback");
        s.query("A", "show role");
    };
    t8_in_a_block_a_reset_leaves_what_has_to_come_first => |s: &mut Stage<'_>| {
        s.enter("A", PROTOCOL_3, &[("work_mem", "9MB"), ("search_path", "pg_catalog, public")]);
        for text in [
            "begin",
            "reset work_mem",
            "set transaction isolation level serializable",
            "reset all",
            "set transaction read only",
            "show work_mem",
            "show search_path",
            "show transaction_isolation",
            "rollback",
        ] {
            s.query("A", text);
        }
    };
    t13_switches_among_the_options => |s: &mut Stage<'_>| {
        let named = ["work_mem", "enable_seqscan", "DateStyle", "log_min_messages", "log_planner_stats"];
        starts(s, &[("options", "-eS 70 -fs -d 2 -tpl -n -v 3")], &named);
    };
    t14_client_encoding_of_the_startup_packet => |s: &mut Stage<'_>| {
        s.enter("A", PROTOCOL_3, &[("client_encoding", "LATIN1")]);
        s.query("B", "show client_encoding");
        s.query("A", "show client_encoding");
    };
    t15_an_unknown_startup_parameter_is_refused => |s: &mut Stage<'_>| {
        let mut refused = |name: &'static str, parameters: &[(&str, &str)]| {
            let login = crate::common::Login { target: s.target(), parameters, version: PROTOCOL_3 };
            let said = crate::common::Raw::try_login(&login).err().unwrap_or_else(|| "welcome".to_owned());
            s.note(name, &said);
        };
        refused("A", &[("nosuch", "1")]);
        refused("B", &[("options", "-c nosuch=1")]);
        refused("C", &[("work_mem", "plenty")]);
        refused("D", &[("options", "-x")]);
        refused("E", &[("options", "-c work_mem")]);
        refused("F", &[("options", "-B 5")]);
        refused("G", &[("search_path", "a b")]);
    };
    t27_deallocate_all_of_another_client_takes_nothing => |s: &mut Stage<'_>| {
        s.ask("A", &[msg::parse("z1", "select 41"), msg::sync()].concat());
        s.query("B", "deallocate all");
        s.ask("A", &[msg::bind("", "z1", &[]), msg::execute("", 0), msg::sync()].concat());
    };
    t33_an_advisory_lock_is_held_until_its_client_leaves => |s: &mut Stage<'_>| {
        s.query("A", "select pg_advisory_lock(77)");
        s.query("B", "select pg_try_advisory_lock(77)");
        s.query("A", "select 'still mine'");
        s.query("B", "select pg_try_advisory_lock(77)");
        s.leave("A");
        s.query("B", "select pg_advisory_lock(77)"); // waits for the end of A's session
        s.query("B", "select pg_advisory_unlock(77)");
        s.query("B", "select count(*) from pg_locks where locktype = 'advisory'");
    };
    t34_a_temporary_table_is_its_clients => |s: &mut Stage<'_>| {
        s.query("A", "create temp table tt as select 1 as a");
        s.query("B", "select * from tt");
        s.query("A", "select * from tt");
        s.leave("A");
        s.query("B", "select * from tt");
        s.query("C", "select * from tt");
    };
    t35_a_cursor_with_hold_is_its_clients => |s: &mut Stage<'_>| {
        s.query("A", "declare h cursor with hold for select generate_series(1, 3)");
        s.query("B", "fetch 1 from h");
        s.query("A", "fetch 2 from h");
        s.query("A", "close h");
        s.query("A", "fetch 1 from h");
    };
    t36_the_reset_of_asyncpg => |s: &mut Stage<'_>| {
        s.enter("A", PROTOCOL_3, &[("application_name", "startapp")]);
        s.query("A", "set application_name = 'other'");
        s.query("A", "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;");
        s.query("B", "show application_name");
        s.query("A", "show application_name");
    };
    literals_are_read_as_their_own_client_reads_them => |s: &mut Stage<'_>| {
        s.query("A", "set datestyle = 'ISO, DMY'");
        s.query("A", "set timezone = 'Asia/Tokyo'");
        let text = "select date '1/2/2020', timestamptz '2020-01-02 03:04'";
        for actor in ["A", "B", "A", "B"] {
            s.ask(actor, &[msg::parse("p", text), msg::bind("", "p", &[]), msg::execute("", 0), msg::sync()].concat());
            s.ask(actor, &[msg::close(b'S', "p"), msg::sync()].concat());
        }
    };
    what_is_a_transactions_is_not_put_in_force_elsewhere => |s: &mut Stage<'_>| {
        for set in [
            "set transaction isolation level serializable",
            "set session characteristics as transaction isolation level repeatable read",
            "set transaction_isolation = 'serializable'",
            "set transaction_read_only = on",
            "set seed = 0.5",
            "set time zone local",
        ] {
            s.query("A", set);
            s.query("B", "show transaction_isolation");
            s.query("A", "show transaction_isolation");
        }
    };
    a_custom_setting_survives_what_asks_for_all_settings => |s: &mut Stage<'_>| {
        s.query("A", "set my.own = 'x'");
        s.query("A", "selekt 1");
        s.query("A", "set time zone local");
        s.query("B", "select coalesce(current_setting('my.own', true), '')");
        s.query("A", "show my.own");
        s.ask("A", &[msg::run("select set_config($1, $2, false)", &[Some("my.other"), Some("y")]), msg::sync()].concat());
        s.query("B", "select coalesce(current_setting('my.other', true), '')");
        s.query("A", "show my.other");
    };
}
