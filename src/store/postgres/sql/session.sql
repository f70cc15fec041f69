-- What every connection begins with. A client that froze inside a transaction must not hold jobs, or the feed of
-- events, forever; a write that waits too long for another one fails and is tried again.
SET idle_in_transaction_session_timeout = '30s';
SET lock_timeout = '15s';
-- The client waits a minute for an answer: a statement that takes longer ends before that.
SET statement_timeout = '55s';
-- A client that vanished without a word (its host lost power, the network was cut) lets go of its locks in half a minute.
SET tcp_keepalives_idle = 15;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '30s';
SET client_min_messages = 'warning';
-- Statements here take less time than compiling them.
SET jit = off;
