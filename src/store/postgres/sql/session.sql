-- What every connection begins with. A client that froze inside a transaction must not hold jobs, or the feed of
-- events, for ever; a write that waits too long for another one fails and is tried again.
SET idle_in_transaction_session_timeout = '30s';
SET lock_timeout = '15s';
SET client_min_messages = 'warning';
-- Statements here take less time than compiling them.
SET jit = off;
