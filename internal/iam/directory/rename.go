package directory

import (
	"context"
	"fmt"

	"github.com/sekisho/sekisho/internal/meta"
)

// Documents is where documents are kept that name principals: a table, the columns of its key, and the column with the
// document.
type Documents struct {
	Table  string
	Key    [2]string // the second one may be empty
	Column string
	Where  string // which rows, an expression; empty for all
}

// trusts is where the directory has its own.
var trusts = Documents{Table: "identities", Key: [2]string{"id", ""}, Column: "document", Where: "kind = 'role'"}

// Rename puts another principal in place of one in all the documents, see [Options.OnRename] and [ReplacePrincipal].
func (d Documents) Rename(ctx context.Context, tx *meta.Tx, from, to string) error {
	key, where := "CAST("+d.Key[0]+" AS TEXT)", ""
	second := "''"
	if d.Key[1] != "" {
		second = "CAST(" + d.Key[1] + " AS TEXT)"
	}
	if d.Where != "" {
		where = d.Where + " AND "
	}
	prefix, _ := allBelow(from)
	type found struct{ key, second, document string }
	// An ARN may stand there with escapes.
	all, err := collect(ctx, tx, func(f *found) []any { return []any{&f.key, &f.second, &f.document} },
		`SELECT `+key+`, `+second+`, `+d.Column+` FROM `+d.Table+` WHERE `+where+
			`(replace(`+d.Column+`, $1, '') <> `+d.Column+` OR replace(`+d.Column+`, '\', '') <> `+d.Column+`)`, prefix)
	if err != nil {
		return err
	}
	for _, f := range all {
		document, there := ReplacePrincipal(f.document, from, to)
		if !there {
			continue
		}
		if _, err := tx.Exec(ctx, `UPDATE `+d.Table+` SET `+d.Column+` = $1 WHERE `+where+key+` = $2 AND `+second+` = $3`, document, f.key, f.second); err != nil {
			return fmt.Errorf("rename %s in %s: %w", from, d.Table, err)
		}
	}
	return nil
}
