// Package meta is the one metadata database of an instance: its schema, its migrations and its transactions,
// over SQLite (one process, the embedded default) or PostgreSQL (many nodes).
//
// It knows nothing of what is stored: domain packages write their own SQL against it, one text for both
// dialects, with $1..$n as placeholders.
//
// Invariants:
//   - When [DB.Update] returns nil the transaction is durable: it survives kill -9 and loss of power.
//     When it returns an error nothing of it is visible, except that an error while committing on
//     PostgreSQL (a lost connection) may leave the outcome unknown.
//   - One failing Update never takes another one with it, although SQLite commits many of them together.
//     The exception is a commit that fails as a whole (disk full, I/O error): all of that batch fail.
//   - The function given to Update never runs after Update has returned.
//   - References between rows are foreign keys, immediate ones, enforced in both dialects. DEFERRABLE
//     constraints are not allowed in the schema: they would fail the commit and with it the batch.
//
// Portable SQL. Columns are TEXT, BIGINT (also for booleans, and for times in Unix microseconds), BYTEA and
// DOUBLE PRECISION. In migrations {{serial}} is an integer primary key that numbers itself and uses no number twice,
// {{text}} is TEXT that compares bytewise whatever the locale of the database, as a column that is sorted or searched by
// prefix must, and {{without_rowid}} ends a CREATE TABLE whose primary key is its natural order. Use ON CONFLICT rather
// than recovering from a constraint error: on PostgreSQL the first error ends a transaction. There a parameter's type
// comes from where it first stands, so CAST($1 AS BIGINT) where that is next to a small literal. Statement texts are
// constants, because prepared statements are cached by text for the life of a connection.
package meta
