//! Promises about comparing two configurations.

use super::*;

#[test]
fn a_reload_tells_which_databases_lose_their_servers() {
    let old =
        config("[databases.gone]\n[databases.moved]\n[databases.same]\n[databases.star]\nport = 6000\n");
    let text = "[databases.moved]\nport = 5433\n[databases.same]\ndbname = \"same\"\npool_size = 3\n[databases.new]\n";
    let new = config(text);
    let changes = diff(&old, &new);
    assert_eq!(
        (changes.removed.as_slice(), changes.changed.as_slice()),
        (&["gone".into(), "star".into()][..], &["moved".into()][..])
    );
    assert!(!changes.server_tls && changes.postponed.is_empty());
    let fallback = config(&format!("{text}[databases.\"*\"]\n"));
    assert_eq!(fate(&old, &fallback, "gone"), Fate::Kept, "the fallback leads to the same server");
    assert_eq!(fate(&old, &fallback, "star"), Fate::Changed);
    assert_eq!(fate(&fallback, &new, "anything"), Fate::Removed);
    assert_eq!(diff(&fallback, &new).removed, ["*"]);
    assert_eq!(diff(&old, &old), Changes::default());
    assert!(diff(&old, &config("[pooler]\nserver_tls_sslmode = \"disable\"\n")).server_tls);
}

#[test]
fn each_part_of_a_connection_counts_as_a_change() {
    let old = config("[databases.a]\nuser = \"u\"\npassword = \"p\"\n");
    for different in ["host = \"h\"", "port = 1", "dbname = \"b\"", "timezone = \"UTC\""] {
        let new = config(&format!("[databases.a]\nuser = \"u\"\npassword = \"p\"\n{different}\n"));
        assert_eq!(diff(&old, &new).changed, ["a"], "{different}");
    }
    assert_eq!(diff(&old, &config("[databases.a]\nuser = \"v\"\npassword = \"p\"\n")).changed, ["a"]);
    assert_eq!(diff(&old, &config("[databases.a]\nuser = \"u\"\npassword = \"q\"\n")).changed, ["a"]);
}

#[test]
fn what_needs_a_restart_is_told_and_stays() {
    let running = config("");
    let new = config(
        "[pooler]\nlisten_addr = \"*\"\nlisten_port = 1\nlisten_backlog = 1\nunix_socket_dir = \"/x\"\n\
         unix_socket_mode = \"0700\"\nunix_socket_group = \"g\"\nworkers = 1\nruntime = \"tokio\"\nmetrics_listen = \"127.0.0.1:1\"\n\
         log_format = \"json\"\ntrack_extra_parameters = []\n",
    );
    let postponed = diff(&running, &new).postponed;
    let fixed: Vec<&str> =
        running.shown.iter().filter(|shown| !shown.changeable).map(|shown| shown.key).collect();
    assert_eq!(postponed.iter().map(|postponed| postponed.key).collect::<Vec<_>>(), fixed);
    assert_eq!(
        postponed.iter().find(|postponed| postponed.key == "listen_port").unwrap().to_string(),
        "pooler.listen_port: \"1\" takes effect after a restart, \"6432\" stays"
    );
    assert_eq!(format!("{:?}", keep_fixed(&running, new)), format!("{running:?}"));
    let quiet = config("[pooler]\nlog_level = \"warn\"\nlog_connections = 0\nlog_disconnections = 0\n");
    assert_eq!(format!("{:?}", keep_fixed(&running, quiet.clone())), format!("{quiet:?}"));
}
