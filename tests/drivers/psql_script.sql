-- What people do in psql, its own queries of the catalogue included. Both runs must print the same.
\set ON_ERROR_STOP on
\pset pager off
create table psql_things (id serial primary key, name text not null, made timestamptz default now());
\d psql_things
\dt psql_*
\copy psql_things (name) from stdin
spoon
fork
\.
select id, name from psql_things order by id;
begin;
insert into psql_things (name) values ('knife');
savepoint s;
\set ON_ERROR_STOP off
insert into psql_things (name) values (null);
\set ON_ERROR_STOP on
rollback to s;
commit;
\set FETCH_COUNT 2
select name from psql_things order by id;
\unset FETCH_COUNT
select 1 as one, 'x' as two \gdesc
select count(*) as things from psql_things \gset
\echo :things
select format('select %L', name) from psql_things order by id \gexec
\copy psql_things (name) to stdout
do $$ begin raise notice 'told'; end $$;
select 1; select 2;
\df abs
\du app
drop table psql_things;
