package config

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// derive fills what follows from other settings.
func (l *loader) derive() {
	c := &l.Config
	if c.Data == "" {
		return // validate refuses it
	}
	if abs, err := filepath.Abs(c.Data); err == nil {
		c.Data = abs
	}
	if c.Database.URL.IsZero() {
		c.Database.URL = NewSecret("sqlite:" + filepath.Join(c.Data, "meta.db"))
	}
	if c.Blobs.URL == "" {
		c.Blobs.URL = "file:" + c.Data
	}
	if c.Git.Path == "" {
		c.Git.Path = filepath.Join(c.Data, "git")
	} else if abs, err := filepath.Abs(c.Git.Path); err == nil {
		c.Git.Path = abs
	}
	if c.TLS.CA == "" {
		c.TLS.CA = filepath.Join(c.Data, "ca")
	}
}

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	// What botocore takes for a region, in lower case: a host name's label, not all digits.
	regionForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	domainForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	allDigits  = regexp.MustCompile(`^[0-9]+$`)
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// validate refuses what could not work, as far as that shows without opening anything
// but the files of certificates.
func (l *loader) validate() {
	c := &l.Config
	l.check("data", c.Data != "", "name the folder to keep everything in")

	l.check("listen", len(c.Listen) > 0, "name at least one address, such as 127.0.0.1:5000")
	for _, addr := range c.Listen {
		l.check("listen", isListenAddr(addr), "%q is not host:port, such as 127.0.0.1:5000 or :443", addr)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		ok := err == nil && isWebURL(u) && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.User == nil && u.Fragment == ""
		l.check("public_url", ok, "%q is not scheme and host alone, such as https://registry.example.com", c.PublicURL)
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	l.check("region", regionForm.MatchString(c.Region) && !allDigits.MatchString(c.Region),
		"%q is not a region's name: lower-case letters, digits and hyphens, such as eu-west-1", c.Region)
	l.check("account", c.Account == "" || accountForm.MatchString(c.Account), "%q is not 12 digits", c.Account)
	l.check("domain", c.Domain == "" || len(c.Domain) <= 190 && domainForm.MatchString(c.Domain),
		"%q is not a domain in lower case, such as example.com", c.Domain)

	l.tls()
	l.endpoints()
	l.database()
	l.blobs()
	if !c.MasterKey.IsZero() {
		_, err := c.DecodeMasterKeys()
		l.checkErr("master_key", err)
	}
	l.secrets()
	l.git()

	l.check("gc.grace", c.GC.Grace > 0, "must be more than 0: it is what protects a push that is still running")
	l.check("gc.uploads", c.GC.Uploads > 0, "must be more than 0")
	l.check("gc.delete_delay", c.GC.DeleteDelay > 0, "must be more than 0")
	l.check("gc.delete_delay", !c.Blobs.S3.Redirect || c.GC.DeleteDelay >= c.Blobs.S3.RedirectExpiry,
		"must not be less than blobs.s3.redirect_expiry, %s: until then the bytes may be asked for", c.Blobs.S3.RedirectExpiry)
	for key, d := range map[string]bool{"header": c.Limits.Header > 0, "keep_alive": c.Limits.KeepAlive > 0, "idle": c.Limits.Idle > 0,
		"layer": c.Limits.Layer > 0, "uploads": c.Limits.Uploads > 0} {
		l.check("limits."+key, d, "must be more than 0")
	}
	l.check("log.format", slices.Contains([]string{"auto", "json", "text"}, c.Log.Format), "%q is none of auto, json, text", c.Log.Format)
	l.check("proxies.header", slices.Contains([]string{"x-forwarded-for", "forwarded"}, c.Proxies.Header),
		"%q is none of x-forwarded-for, forwarded", c.Proxies.Header)
	if c.Tracing.Endpoint != "" {
		u, err := url.Parse(c.Tracing.Endpoint)
		l.check("tracing.endpoint", err == nil && isWebURL(u), "%q is not a URL, such as http://collector:4318", c.Tracing.Endpoint)
	}
	l.check("tracing.sample", c.Tracing.Sample >= 0 && c.Tracing.Sample <= 1, "%v is not between 0 and 1", c.Tracing.Sample)
	l.check("metrics.listen", c.Metrics.Listen == "" || isListenAddr(c.Metrics.Listen), "%q is not host:port, such as 127.0.0.1:9090", c.Metrics.Listen)

	l.sort()
}

// sort brings the problems into the order of the manual.
func (l *loader) sort() {
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return l.index(a.Key) - l.index(b.Key) })
}

func (l *loader) git() {
	g := &l.Config.Git
	for key, d := range map[string]bool{"push": g.Push > 0, "file": g.File > 0, "repository": g.Repository > 0, "programs": g.Programs > 0, "time": g.Time > 0} {
		l.check("git."+key, d, "must be more than 0")
	}
	l.check("git.memory", g.Memory == 0 || g.Memory >= 256<<20, "must be 0, or at least 256M")
	for _, a := range g.MirrorAllow {
		_, perr := parsePrefix(a)
		l.check("git.mirror_allow", perr == nil || domainForm.MatchString(strings.ToLower(a)), "%q is neither the name of a host, nor an address, nor a prefix", a)
	}
	if g.MirrorCA != "" {
		_, err := os.Stat(g.MirrorCA)
		l.checkErr("git.mirror_ca", err)
	}
}

func (l *loader) database() {
	c := &l.Config
	scheme, rest, _ := strings.Cut(c.Database.URL.Reveal(), ":")
	switch scheme {
	case "sqlite":
		l.check("database.url", rest != "", "name a file, as in sqlite:/var/lib/sekisho/meta.db")
	case "postgres", "postgresql":
		l.check("master_key", !c.MasterKey.IsZero(),
			"missing: nodes that share a database need the same key. Make one with `openssl rand -hex 32` and give it to each, or name its file in master_key_file")
	default: // the rest may hold a password
		l.check("database.url", false, "it begins with neither sqlite: nor postgres://")
	}
	l.check("database.connections", c.Database.Connections > 0, "must be more than 0")
}

func (l *loader) blobs() {
	b := &l.Config.Blobs
	if folder, ok := strings.CutPrefix(b.URL, "file:"); ok {
		l.check("blobs.url", folder != "", "name a folder, as in file:/var/lib/sekisho")
		for key, unset := range map[string]bool{"endpoint": b.S3.Endpoint == "", "access_key_id": b.S3.AccessKeyID == "",
			"secret_access_key": b.S3.SecretAccessKey.IsZero(), "redirect": !b.S3.Redirect} {
			l.check("blobs.s3."+key, unset, "has no effect with files: set blobs.url to s3://bucket, or remove it")
		}
		return
	}
	u, err := url.Parse(b.URL)
	if err != nil || u.Scheme != "s3" {
		l.check("blobs.url", false, "%q begins with neither file: nor s3://", b.URL)
		return
	}
	l.check("blobs.url", bucketForm.MatchString(u.Host) && u.User == nil && u.RawQuery == "" && u.Fragment == "",
		"%q is not s3://bucket or s3://bucket/prefix", b.URL)
	if b.S3.Endpoint != "" {
		u, err := url.Parse(b.S3.Endpoint)
		l.check("blobs.s3.endpoint", err == nil && isWebURL(u), "%q is not a URL, such as https://minio.example.com:9000", b.S3.Endpoint)
	}
	l.check("blobs.s3.region", b.S3.Region != "", "name the bucket's region; servers other than AWS take any")
	switch {
	case b.S3.AccessKeyID != "" && b.S3.SecretAccessKey.IsZero():
		l.check("blobs.s3.secret_access_key", false, "missing: blobs.s3.access_key_id needs it")
	case b.S3.AccessKeyID == "" && !b.S3.SecretAccessKey.IsZero():
		l.check("blobs.s3.access_key_id", false, "missing: blobs.s3.secret_access_key needs it")
	}
	l.check("blobs.s3.redirect_expiry", b.S3.RedirectExpiry > 0, "must be more than 0")
}

// DecodeMasterKeys returns the keys of MasterKey, 32 bytes each; nil when there are none.
func (c *Config) DecodeMasterKeys() ([][]byte, error) { return ParseMasterKeys(c.MasterKey.Reveal()) }

// ParseMasterKeys reads master keys, in hex or base64, with commas or white space between them.
func ParseMasterKeys(text string) ([][]byte, error) {
	var keys [][]byte
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		key := decodeKey(word)
		if key == nil {
			return nil, errors.New("it is not 32 bytes in hex or base64: make one with `openssl rand -hex 32`")
		}
		for _, other := range keys {
			if string(other) == string(key) {
				return nil, errors.New("it names the same key twice")
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func decodeKey(text string) []byte {
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == 32 {
			return key
		}
	}
	return nil
}

func (l *loader) check(key string, ok bool, format string, args ...any) {
	if !ok {
		l.problem(l.origin(key), key, format, args...)
	}
}

// origin is where a setting is from: of one that is missing in a list of groups, where its group is.
func (l *loader) origin(key string) string {
	if o, ok := l.origins[key]; ok {
		return o
	}
	group, _, _ := cutLast(key, ".")
	if o, ok := l.origins[group]; ok {
		return o
	}
	list, _, _ := strings.Cut(key, "[")
	return l.origins[list]
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (l *loader) checkErr(key string, err error) {
	if err != nil {
		l.check(key, false, "%v", err)
	}
}

// index is the place of a key in the manual.
func (l *loader) index(key string) int {
	key, _, _ = strings.Cut(key, "[")
	return slices.IndexFunc(l.fields, func(f *field) bool { return f.key == key })
}

func isListenAddr(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil && !strings.ContainsAny(host, "/ ")
}

func isWebURL(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" }

func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}
