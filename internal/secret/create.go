package secret

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Draft is a secret to be made.
type Draft struct {
	Name        string
	Description string
	KMSKeyID    string
	Tags        map[string]string
	Value       Value  // may be zero: then there is no version yet
	Token       string // becomes the version's id; empty: one is made up
}

const (
	maxDescription = 2048
	maxTags        = 50
	maxTagKey      = 128
	maxTagValue    = 256
)

// Create makes a secret and returns it, and the id of its version, if it has a value. The same again, with the same
// token and value, changes nothing. Errors: *iam.DeniedError, and an [*Error] of kind Exists, InvalidRequest (one of that
// name is scheduled for deletion), InvalidName or InvalidParameter.
func (s *Store) Create(ctx context.Context, c *iam.Caller, d Draft) (*Secret, string, error) {
	if !validName(d.Name) {
		return nil, "", errName
	}
	if err := checkDraft(&d); err != nil {
		return nil, "", err
	}
	account := accountOf(c)
	id := newID(account, d.Name)
	if err := s.mayCreate(ctx, c, id, &d); err != nil {
		return nil, "", err
	}
	kind, err := s.kind(account, d.Value)
	if err != nil {
		return nil, "", err
	}
	if d.Token == "" {
		d.Token = newToken()
	}
	tags, err := json.Marshal(nonNil(d.Tags))
	if err != nil {
		return nil, "", err
	}
	var made *Secret
	version := ""
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		version = ""
		now := s.now()
		res, err := tx.Exec(ctx, `INSERT INTO secrets (`+secretColumns+`) VALUES ($1, $2, $3, $4, $5, $6, '', $7, $7, 0, 0, 0)
			ON CONFLICT (account, name) DO NOTHING`, id, account, d.Name, d.Description, d.KMSKeyID, string(tags), now.UnixMicro())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if made, err = s.find(ctx, tx, reference{account: account, name: d.Name}); err != nil {
			return err
		}
		if made == nil { // deleted just now
			return errorf(InvalidRequest, "The secret %s was deleted at the same time. Try again.", d.Name)
		}
		if n == 0 {
			version, err = s.createdBefore(ctx, tx, made, &d)
			return err
		}
		if !d.Value.IsZero() {
			version = d.Token
			if _, err := s.putVersion(ctx, tx, made, version, d.Value, kind, []string{Current}); err != nil {
				return err
			}
		}
		return s.changed(ctx, tx, c, "CreateSecret", made.ARN, versionDetail(version, kind))
	})
	if err != nil {
		return nil, "", err
	}
	return made, version, nil
}

// mayCreate asks for the actions that a draft needs.
func (s *Store) mayCreate(ctx context.Context, c *iam.Caller, id string, d *Draft) error {
	_, _, full, ok := splitID(id)
	if !ok { // nobody's account
		full = d.Name
	}
	keys := tagKeys(d.Tags)
	keys["secretsmanager:name"] = []string{d.Name}
	if d.Description != "" {
		keys["secretsmanager:description"] = []string{d.Description}
	}
	if d.KMSKeyID != "" {
		keys["secretsmanager:kmskeyid"] = []string{d.KMSKeyID}
	}
	r := reference{given: d.Name, account: accountOf(c), name: full}
	if err := s.check(ctx, c, "CreateSecret", r, nil, keys); err != nil || len(d.Tags) == 0 {
		return err
	}
	return s.check(ctx, c, "TagResource", r, nil, keys)
}

// createdBefore returns the version that a repeated creation has made.
func (s *Store) createdBefore(ctx context.Context, tx *meta.Tx, x *Secret, d *Draft) (string, error) {
	if !x.Deleted.IsZero() {
		return "", errorf(InvalidRequest, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	same, err := s.sameVersion(ctx, tx, x, d.Token, d.Value)
	if err == nil && !same {
		err = errorf(Exists, "The operation failed because the secret %s already exists.", x.Name)
	}
	return d.Token, err
}

// Edit is a change of a secret. What is nil or zero stays.
type Edit struct {
	Description *string
	KMSKeyID    *string
	Value       Value
	Token       string
}

// Update changes a secret and returns it, and the id of the version that it made, if the edit has a value. Errors: as those
// of Put.
func (s *Store) Update(ctx context.Context, c *iam.Caller, id string, e Edit) (*Secret, string, error) {
	d := Draft{Value: e.Value, Token: e.Token}
	keys := map[string][]string{}
	if e.Description != nil {
		d.Description = *e.Description
		keys["secretsmanager:description"] = []string{*e.Description}
	}
	if e.KMSKeyID != nil {
		d.KMSKeyID = *e.KMSKeyID
		keys["secretsmanager:kmskeyid"] = []string{*e.KMSKeyID}
	}
	if err := checkDraft(&d); err != nil {
		return nil, "", err
	}
	x, err := s.allowed(ctx, c, "UpdateSecret", id, keys)
	if err != nil {
		return nil, "", err
	}
	kind, err := s.kind(x.Account, e.Value)
	if err != nil {
		return nil, "", err
	}
	if d.Token == "" {
		d.Token = newToken()
	}
	version := ""
	err = s.update(ctx, x, false, func(tx *meta.Tx, now *Secret) error {
		version = ""
		if e.Description != nil {
			now.Description = *e.Description
		}
		if e.KMSKeyID != nil {
			now.KMSKeyID = *e.KMSKeyID
		}
		_, err := tx.Exec(ctx, `UPDATE secrets SET description = $1, kms_key_id = $2, changed_at = $3 WHERE id = $4`,
			now.Description, now.KMSKeyID, s.now().UnixMicro(), now.id)
		if err != nil {
			return err
		}
		if !e.Value.IsZero() {
			version = d.Token
			if _, err := s.putVersion(ctx, tx, now, version, e.Value, kind, []string{Current}); err != nil {
				return err
			}
		}
		return s.changed(ctx, tx, c, "UpdateSecret", x.ARN, versionDetail(version, kind))
	})
	return x, version, err
}

// checkDraft refuses what no secret can have.
func checkDraft(d *Draft) error {
	switch {
	case len([]rune(d.Description)) > maxDescription:
		return errorf(InvalidParameter, "The description has more than %d characters.", maxDescription)
	case len(d.Value.data) > MaxValue:
		return errorf(InvalidParameter, "The value has more than %d bytes.", MaxValue)
	case !d.Value.IsZero() && len(d.Value.data) == 0:
		return errorf(InvalidParameter, "The value is empty.")
	}
	for member, text := range map[string]string{"Description": d.Description, "KmsKeyId": d.KMSKeyID, "ClientRequestToken": d.Token} {
		if err := checkText(member, text); err != nil {
			return err
		}
	}
	if d.Token != "" && (len(d.Token) < 32 || len(d.Token) > 64) {
		return errorf(InvalidParameter, "ClientRequestToken must be 32-64 characters long.")
	}
	return checkTags(d.Tags)
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return errorf(LimitExceeded, "A secret can have %d tags.", maxTags)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case key == "" || len([]rune(key)) > maxTagKey || len([]rune(tags[key])) > maxTagValue:
			return errorf(InvalidParameter, "A tag's key has 1 to %d characters, and its value up to %d.", maxTagKey, maxTagValue)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return errorf(InvalidParameter, "Tag keys that begin with aws: are reserved: %s", key)
		}
		if err := checkText("A tag", key+tags[key]); err != nil {
			return err
		}
	}
	return nil
}

// tagKeys are the condition keys of a request that sets tags.
func tagKeys(tags map[string]string) map[string][]string {
	keys := map[string][]string{}
	for key, value := range tags {
		keys["aws:requesttag/"+strings.ToLower(key)] = []string{value}
	}
	if len(tags) > 0 {
		keys["aws:tagkeys"] = slices.Sorted(maps.Keys(tags))
	}
	return keys
}

func nonNil(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}

// newToken makes up the id of a version.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	id, _ := uuid.FromBytes(b[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4
	return id.String()
}

// versionDetail says in an audit record which version was made.
func versionDetail(version string, kind valueKind) string {
	if version == "" {
		return ""
	}
	return fmt.Sprintf("version %s, %s", version, kind)
}
