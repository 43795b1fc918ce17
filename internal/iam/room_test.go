package iam

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// TestSessionsAreBounded fills an account with sessions, lets them expire, and fills it again.
func TestSessionsAreBounded(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		const most = 50
		now := time.Unix(1e9, 0)
		n := 0
		add := func() error {
			return db.Update(t.Context(), func(tx *meta.Tx) error {
				if err := makeRoom(t.Context(), tx, "111122223333", most, now); err != nil {
					return err
				}
				n++
				_, err := tx.Exec(t.Context(), `INSERT INTO sessions (id, account, secret, grants, issued_at, expires_at) VALUES ($1, '111122223333', $2, '', 0, $3)`,
					fmt.Sprint("ASIA", n), []byte{1}, now.Add(time.Hour).UnixMicro())
				return err
			})
		}
		if err := db.Update(t.Context(), func(tx *meta.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO accounts (id, created_at) VALUES ('111122223333', 0)`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			for range most {
				if err := add(); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			if err := add(); !errors.Is(err, ErrTooManySessions) {
				t.Errorf("round %d: one too many: %v", round, err)
			}
			now = now.Add(time.Hour)
		}
		if err := add(); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM sessions`).Scan(&left); err != nil || left != most-sweepSessions+1 {
			t.Errorf("%d are left, %v", left, err)
		}
	})
}
