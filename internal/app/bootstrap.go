package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/transfer"
)

// RootKey is the file that keeps the root access key for sekisho env.
type RootKey struct {
	Account         string `json:"account"`
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// bootstrap finds the default account. To serve, it makes it and its root access key if need be.
func (in *Instance) bootstrap(ctx context.Context, mode Mode) error {
	if err := transfer.Check(ctx, in.DB); err != nil {
		return err
	}
	if mode != Serve {
		accounts, err := in.IAM.Accounts(ctx)
		if err != nil {
			return err
		}
		if len(accounts) == 0 {
			return errors.New("the database has no account yet; start sekisho serve first")
		}
		in.Account = cmp.Or(in.Config.Account, accounts[0].ID)
		return nil
	}
	account, key, err := in.IAM.Bootstrap(ctx, in.Config.Account)
	if err != nil {
		return err
	}
	if in.Account, in.NewKey = account.ID, key; key == nil {
		return nil
	}
	return in.writeRootKey(in.NewKey)
}

// ReadRootKey returns the root access key of the instance: from its file, or, where that was deleted, from the database.
func (in *Instance) ReadRootKey(ctx context.Context) (*RootKey, error) {
	text, err := os.ReadFile(in.path(rootKeyFile))
	if err == nil {
		var k RootKey
		if err := json.Unmarshal(text, &k); err != nil {
			return nil, fmt.Errorf("read %s: %w", in.path(rootKeyFile), err)
		}
		return &k, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	keys, err := in.IAM.Keys(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ARN != iam.RootARN(in.Account) || k.Status != iam.KeyActive {
			continue
		}
		secret, _, err := in.IAM.Secret(ctx, k.ID, netip.Addr{})
		if err != nil {
			return nil, err
		}
		return &RootKey{in.Account, k.ID, secret.Reveal()}, nil
	}
	return nil, fmt.Errorf("account %s has no active root access key", in.Account)
}

// ReplaceRootKey keeps the file with the root access key true, if the key in it is the one with the old id, which is no
// longer good: with another one of the account, or none.
func (in *Instance) ReplaceRootKey(old string, key *iam.AccessKey) error {
	text, err := os.ReadFile(in.path(rootKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept RootKey
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", in.path(rootKeyFile), err)
	}
	switch {
	case kept.AccessKeyID != old:
		return nil
	case key == nil:
		return os.Remove(in.path(rootKeyFile))
	}
	return in.writeRootKey(key)
}

func (in *Instance) writeRootKey(key *iam.AccessKey) error {
	text, err := json.MarshalIndent(RootKey{key.Account, key.ID, key.Secret.Reveal()}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(in.path(rootKeyFile), append(text, '\n'))
}

// RootKeyFile is where the root access key is kept.
func (in *Instance) RootKeyFile() string { return in.path(rootKeyFile) }

// URL is where clients on this machine reach the instance: as configured, or the address the server last listened on.
func (in *Instance) URL() (string, error) {
	if in.Config.PublicURL != "" {
		return in.Config.PublicURL, nil
	}
	addr := in.Config.Listen[0]
	if text, err := os.ReadFile(in.path(addressFile)); err == nil {
		addr, _, _ = strings.Cut(string(text), "\n")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if in.Config.TLS.Enabled() {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}
