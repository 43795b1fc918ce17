package meta

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IsUnique reports whether err is a violated primary key or unique constraint.
func IsUnique(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return postgresState(err) == "23505" // unique_violation
}

// IsForeignKey reports whether err is a violated foreign key: a row that refers to nothing, or the deletion of a row
// that is referred to.
func IsForeignKey(err error) bool {
	// SQLite reports ON DELETE RESTRICT as if a trigger had raised it.
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, sqlite3.SQLITE_CONSTRAINT_TRIGGER:
		return true
	}
	switch postgresState(err) {
	case "23503", "23001": // foreign_key_violation, restrict_violation
		return true
	}
	return false
}

// IsFull reports whether err says that the database can't be written: the disk is full, or its files gave an I/O error.
func IsFull(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return true
	}
	switch postgresState(err) {
	case "53100", "58030": // disk_full, io_error
		return true
	}
	return false
}

// IsBusy reports whether err is a lock that was not to be had in time, or a conflict between transactions that remained
// after all retries: trying again later may succeed.
func IsBusy(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	switch postgresState(err) {
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return true
	}
	return false
}

// endsTransaction reports whether SQLite may have rolled back the whole transaction by itself because of err, leaving
// the connection in autocommit mode (https://www.sqlite.org/lang_transaction.html, section 3.1).
func endsTransaction(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}

// sqliteCode returns the extended result code of err, 0 if it isn't an error of SQLite.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// postgresState returns the SQLSTATE of err, "" if it isn't an error of PostgreSQL.
func postgresState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
