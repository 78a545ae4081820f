//! What changes a session without a word that tells it: functions, procedures, triggers and DO blocks.

use rand::rngs::StdRng;

use super::draw::Stage;
use super::words::one;

/// What each lane's database has of them.
pub const SETUP: [&str; 21] = [
    "create function f_zone(text) returns text language plpgsql as \
     $$ begin perform set_config('timezone', $1, false); return current_setting('timezone'); end $$",
    "create function f_app(text) returns text language sql as \
     $$ select set_config('application_name', $1, false) $$",
    "create function f_local() returns text language plpgsql as \
     $$ begin set local datestyle = 'German'; return current_setting('datestyle'); end $$",
    "create function f_own() returns text language plpgsql set timezone = 'Asia/Tokyo' as \
     $$ begin return current_setting('timezone'); end $$",
    "create function f_caught() returns text language plpgsql as \
     $$ begin begin set intervalstyle = 'iso_8601'; raise 'no'; exception when others then null; end; \
     return current_setting('intervalstyle'); end $$",
    "create function f_reset() returns void language plpgsql as $$ begin reset timezone; reset datestyle; end $$",
    "create procedure p_zone() language plpgsql as \
     $$ begin set timezone = 'Asia/Tokyo'; commit; set local datestyle = 'German'; rollback; end $$",
    "create procedure p_mem() language plpgsql as \
     $$ begin set work_mem = '5MB'; commit; set work_mem = '6MB'; rollback; end $$",
    "create function f_trigger() returns trigger language plpgsql as \
     $$ begin perform set_config('timezone', 'America/New_York', false); return new; end $$",
    "create table g (a int)",
    "create trigger g before insert on g for each row execute function f_trigger()",
    "create function f_mem(text) returns text language plpgsql as \
     $$ begin perform set_config('work_mem', $1, false); return current_setting('work_mem'); end $$",
    "create function f_path(text) returns text language sql as $$ select set_config('search_path', $1, false) $$",
    "create function f_role(text) returns text language sql as $$ select set_config('role', $1, false) $$",
    "create function f_all() returns void language plpgsql as $$ begin reset all; end $$",
    "create function f_unseen() returns trigger language plpgsql as \
     $$ begin perform set_config('search_path', 's1', false), set_config('work_mem', '7MB', false); return new; end $$",
    "create table h (a int)",
    "create trigger h before insert on h for each row execute function f_unseen()",
    "create function f_temp() returns void language plpgsql as \
     $$ begin create temp table if not exists tt (a int); end $$",
    "create function f_lock(bigint) returns void language sql as $$ select pg_advisory_lock($1) $$",
    "create function f_hold() returns void language plpgsql as \
     $$ begin execute 'declare h1 cursor with hold for select generate_series(1, 3)'; end $$",
];

/// Settings that PostgreSQL reports.
const REPORTED: [&str; 8] = [
    "select public.f_zone('Asia/Tokyo')",
    "select public.f_zone('nowhere')",
    "select public.f_app('fn')",
    "select public.f_local()",
    "select public.f_own()",
    "select public.f_caught()",
    "insert into public.g values (1)",
    "select public.f_zone('UTC'), public.f_app('zone')",
];

/// Whatever DO and CALL do is asked about.
const ASKED: [&str; 10] = [
    "call public.p_zone()",
    "call public.p_mem()",
    "do language plpgsql $$ begin perform set_config('datestyle', 'German', false); end $$",
    "do language plpgsql $$ begin set local timezone = 'Asia/Tokyo'; end $$",
    "do language plpgsql $$ begin set work_mem = '9MB'; raise exception 'no'; end $$",
    "do language plpgsql $$ begin set work_mem = '9MB'; begin set work_mem = '8MB'; raise 'no'; \
     exception when others then null; end; end $$",
    "do language plpgsql $$ begin set role bob; end $$",
    "do language plpgsql $$ begin perform public.f_path('s1'); end $$",
    "do language plpgsql $$ begin set session characteristics as transaction read only; end $$",
    "do language plpgsql $$ begin set search_path = s2; perform count(*) from v; end $$",
];

/// What is known only if everything is asked about.
const VERIFIED: [&str; 7] = [
    "select public.f_mem('5MB')",
    "select public.f_mem('nonsense')",
    "select public.f_path('s2')",
    "select public.f_path('s1, public')",
    "select public.f_role('bob')",
    "select public.f_role('none')",
    "insert into public.h values (1)",
];

/// What of that needs a server of one's own.
const VERIFIED_PINNING: [&str; 5] = [
    "select public.f_temp()",
    "select public.f_lock($KEY)",
    "select public.f_hold()",
    "select public.f_temp(), public.f_hold()",
    "select public.f_temp(), 1 / 0",
];

/// RESET where nobody sees it.
const RESETTING: [&str; 2] = ["select public.f_reset()", "do language plpgsql $$ begin reset all; end $$"];

/// A statement of this kind that this client may say.
pub fn call(rng: &mut StdRng, stage: &Stage) -> &'static str {
    let mut lists: Vec<&[&'static str]> = vec![&REPORTED, &REPORTED, &ASKED, &ASKED];
    if !stage.startup {
        lists.push(&RESETTING);
    }
    if stage.verify {
        lists.extend([&VERIFIED[..], &VERIFIED[..], &VERIFIED[..]]);
        if stage.pool > 1 {
            lists.extend([&VERIFIED_PINNING[..], &VERIFIED_PINNING[..]]);
        }
    }
    let list = rand::seq::IndexedRandom::choose(&lists[..], rng).copied().unwrap_or_default();
    one(rng, list)
}
