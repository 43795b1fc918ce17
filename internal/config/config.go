package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Config is every setting of the server. The comments of its fields are the manual:
// docs/config.md and the example file are made from them.
type Config struct {
	// The folder that holds everything the server keeps, made on the first start and
	// readable by its owner only. With PostgreSQL and S3 it holds nothing that lasts.
	Data string `yaml:"data" flag:"data"`

	// Addresses to serve on, host:port. An empty host is all interfaces, port 0 takes
	// a free port.
	Listen []string `yaml:"listen" flag:"listen"`

	// How clients reach the server: scheme, host and port, such as
	// https://registry.example.com. When empty, links and registry addresses in
	// answers name the host that the client called.
	PublicURL string `yaml:"public_url" flag:"public-url"`

	// The region this instance is, as it appears in ARNs, signatures and host names.
	// The default is a name that every AWS client accepts without being told to; take
	// another one, of your own if you like, when you run more than one instance.
	Region string `yaml:"region" flag:"region"`

	// The 12 digits of the default account, which the first start creates. When
	// empty, it draws them at random. Later starts find the account in the database,
	// and refuse to go on if this names another one.
	Account string `yaml:"account"`

	// The domain under which each account has a host name of its own,
	// <account>.dkr.ecr.<region>.<domain>. It may be amazonaws.com behind private DNS
	// and a private CA. When empty, every host name means the default account.
	Domain string `yaml:"domain"`

	// Served certificates. Without any the server speaks plain HTTP. There may be several
	// kinds: a file's certificate goes before one from ACME, and that before one of the
	// server's own authority, where they are for the name that the client asks for.
	TLS TLS `yaml:"tls"`

	// Private endpoints: named ways into the server, as an interface endpoint is into a
	// VPC. What comes in through one has the condition keys aws:SourceVpce, aws:SourceVpc
	// and aws:VpcSourceIp, and no aws:SourceIp.
	Endpoints []Endpoint `yaml:"endpoints"`

	// Issuers of identity tokens (OpenID Connect), for sts:AssumeRoleWithWebIdentity. Which
	// ones an account trusts, it says itself, with iam:CreateOpenIDConnectProvider.
	OIDC OIDC `yaml:"oidc"`

	// Load balancers that say with the PROXY protocol (version 1 or 2) where a connection
	// comes from.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`

	// Where metadata is kept.
	Database Database `yaml:"database"`

	// Where the bytes of layers are kept.
	Blobs Blobs `yaml:"blobs"`

	// 32 bytes, in hex or base64, that seal the secrets in the database and sign
	// tokens. When empty, <data>/master.key, made on the first start. Several nodes
	// need the same one. Without it, what is sealed is lost. To replace it, give the
	// new one and the old one with a comma between them until `sekisho key rotate` is
	// done: the first one seals, the others only open.
	MasterKey Secret `yaml:"master_key"`

	// Where the values of secrets may refer to, instead of being kept here.
	Secrets Secrets `yaml:"secrets"`

	// Git repositories, which need the git program on the server.
	Git Git `yaml:"git"`

	// Whether a new account makes repositories when something is pushed to them. It
	// is only where accounts start from: each can change it.
	CreateOnPush bool `yaml:"create_on_push"`

	// What build hosts download from /agents/.
	Agents Agents `yaml:"agents"`

	// When bytes that nothing needs are deleted.
	GC GC `yaml:"gc"`

	// What one client, or all together, may use.
	Limits Limits `yaml:"limits"`

	// The record of who did what.
	Audit Audit `yaml:"audit"`

	// The server's log, on standard error: one event a request, and its own doings.
	Log Log `yaml:"log"`

	// Reverse proxies and load balancers in front.
	Proxies Proxies `yaml:"proxies"`

	// OpenTelemetry traces.
	Tracing Tracing `yaml:"tracing"`

	// Prometheus metrics.
	Metrics Metrics `yaml:"metrics"`

	// How long a stop waits for requests that are running, uploads above all, before
	// it cuts them off.
	ShutdownGrace time.Duration `yaml:"shutdown_grace"`
}

// Agents says where programs for build hosts are.
type Agents struct {
	// A folder with this program for other platforms than the server's own, as
	// sekisho_<os>_<arch>, such as sekisho_linux_arm64. Read again when a file changes. The
	// program for the server's own platform is the one that runs.
	Binaries string `yaml:"binaries"`
}

// TLS says which certificates are served, and which are asked for.
type TLS struct {
	// PEM file with the certificate and its chain. Read again when it changes.
	Cert string `yaml:"cert"`
	// PEM file with the certificate's key.
	Key string `yaml:"key"`
	// More pairs of files. The client gets the one for the name, or, if it asks for none,
	// for the address that it calls; and the first of all, tls.cert's, when none fits.
	Certificates []KeyPair `yaml:"certificates"`
	// Whether the server issues its own certificate, and renews it, from the private
	// authority that `sekisho ca` manages. It is for the hosts of public_url, domain,
	// listen and the endpoints, for localhost, and for tls.names.
	Auto bool `yaml:"auto"`
	// The folder of the private authority, made on the first start. When empty, <data>/ca.
	CA string `yaml:"ca"`
	// More names and addresses for the certificate of tls.auto.
	Names []string `yaml:"names"`
	// Certificates from a public or private authority that speaks ACME.
	ACME ACME `yaml:"acme"`
	// PEM file with the authorities whose certificates clients must show. Read again when
	// it changes. When empty, clients are asked for none.
	ClientCA string `yaml:"client_ca"`
	// Whether a client without a certificate is turned away (require), or only one with a
	// wrong certificate is (optional).
	ClientAuth string `yaml:"client_auth"`
}

// KeyPair is a certificate and its key.
type KeyPair struct {
	// PEM file with the certificate and its chain. Read again when it changes.
	Cert string `yaml:"cert"`
	// PEM file with the certificate's key.
	Key string `yaml:"key"`
}

// ACME says how certificates are got (RFC 8555). Whoever sets names agrees to the
// authority's terms of service. Names are proved by TLS on the server's own addresses
// (tls-alpn-01), which the authority must reach at port 443, or over HTTP (http-01).
type ACME struct {
	// Host names to get certificates for, each its own. When empty, ACME is not used.
	Names []string `yaml:"names"`
	// The authority's directory.
	Directory string `yaml:"directory"`
	// PEM file with the root that the directory's own certificate is under, for an
	// authority in a private network, such as step-ca. When empty, the system's roots.
	CA string `yaml:"ca"`
	// Where the authority writes to about the account. May be empty.
	Email string `yaml:"email"`
	// The identifier of the external account, where the authority wants one.
	EABKeyID string `yaml:"eab_key_id"`
	// Its key, in base64url, as the authority gives it.
	EABKey Secret `yaml:"eab_key"`
	// An address, host:port, that answers http-01 and sends everything else on to HTTPS.
	// The authority calls port 80. When empty, there is none.
	Listen string `yaml:"listen"`
}

// OIDC says how issuers of identity tokens are reached.
type OIDC struct {
	// PEM file with authorities that issuers' certificates may be under, beside the
	// system's.
	CA string `yaml:"ca"`
	// Keys of issuers that are never asked for them: for networks without a way out.
	Keys []IssuerKeys `yaml:"keys"`
	// Whether issuers may be on this machine.
	Loopback bool `yaml:"loopback"`
}

// IssuerKeys are the keys of an issuer of identity tokens.
type IssuerKeys struct {
	// The issuer's URL, as its tokens have it in iss.
	Issuer string `yaml:"issuer"`
	// File with its JSON Web Key Set.
	File string `yaml:"file"`
}

// Endpoint is a private endpoint. A connection comes in through it when it arrives at
// one of its own addresses, or when a load balancer says so.
type Endpoint struct {
	// Its id, vpce- and 8 to 17 hexadecimal digits, as policies name it in aws:SourceVpce.
	ID string `yaml:"id"`
	// The network it leads into, as policies name it in aws:SourceVpc: vpc- and digits.
	VPC string `yaml:"vpc"`
	// Addresses of its own, host:port. Whatever arrives there comes through this endpoint.
	Listen []string `yaml:"listen"`
	// Load balancers that lead to this endpoint alone. What they send to an address of
	// proxy_protocol.listen, or to the endpoint's own, must begin with a PROXY header, and
	// comes through this endpoint; a header that names another one is refused.
	Senders []netip.Prefix `yaml:"senders"`
	// Reverse proxies in the endpoint's network that are believed about the client's
	// address, as proxies.trusted are outside. The addresses there mean nothing here.
	Forwarders []netip.Prefix `yaml:"forwarders"`
	// What it leads to, of ecr.api, ecr.dkr, sts, iam, secretsmanager, git, agents, api
	// (what the sekisho command asks) and console. When empty, everything.
	Services []string `yaml:"services"`
	// The endpoint policy: the name of a JSON file, or the JSON text itself. What it does
	// not allow is refused here, whoever asks. When empty, it allows everything.
	Policy string `yaml:"policy"`
}

// ProxyProtocol says where the PROXY protocol is spoken, and by whom.
type ProxyProtocol struct {
	// More addresses, host:port, for load balancers. Connections from trusted senders must
	// begin with a PROXY header there; others must not, and count as what they are.
	Listen []string `yaml:"listen"`
	// Senders that are believed about the client's address, and, where the header has the
	// field of AWS for it (0xEA), about which endpoint a connection came through.
	Trusted []netip.Prefix `yaml:"trusted"`
}

// Database says where metadata is kept.
type Database struct {
	// sqlite:<file>, for one node, or postgres://user:password@host/name, for any
	// number of nodes. When empty, sqlite:<data>/meta.db.
	URL Secret `yaml:"url"`
	// Connections that read from SQLite, or all connections of this node to PostgreSQL.
	Connections int `yaml:"connections"`
}

// Blobs says where the bytes of layers are kept.
type Blobs struct {
	// file:<folder> or s3://bucket/prefix. When empty, file:<data>.
	URL string `yaml:"url"`
	// How to use the bucket of an s3 URL.
	S3 S3 `yaml:"s3"`
}

// S3 says how to use a bucket. Without keys, the AWS SDK's usual places are searched:
// environment, shared files, the instance's role.
type S3 struct {
	// Where the S3 API is, such as https://minio.example.com:9000. When empty, AWS.
	Endpoint string `yaml:"endpoint"`
	// The bucket's region.
	Region string `yaml:"region"`
	// Whether the bucket is named in the path rather than in the host name, as most
	// servers other than AWS want it.
	PathStyle bool `yaml:"path_style"`
	// Access key to the bucket.
	AccessKeyID string `yaml:"access_key_id"`
	// Its secret.
	SecretAccessKey Secret `yaml:"secret_access_key"`
	// Whether pulls of layers are redirected to the bucket with presigned URLs, so
	// that their bytes do not pass through the server. Clients must reach the endpoint.
	Redirect bool `yaml:"redirect"`
	// How long such a URL is good for.
	RedirectExpiry time.Duration `yaml:"redirect_expiry"`
}

// Git says where git repositories are, and what a client may do to them.
type Git struct {
	// The folder of the repositories. Several nodes need one on a file system that they
	// share. When empty, <data>/git.
	Path string `yaml:"path"`
	// The git program, 2.37 or later. When empty, git is looked for in PATH.
	Program string `yaml:"program"`
	// Bytes of one push.
	Push Bytes `yaml:"push"`
	// Bytes of one file that comes with a push.
	File Bytes `yaml:"file"`
	// Bytes of a repository on disk. Each can have a limit of its own, for these three.
	Repository Bytes `yaml:"repository"`
	// How many clients may fetch or push at once; more wait for a moment.
	Programs int `yaml:"programs"`
	// How long one fetch or push may take.
	Time time.Duration `yaml:"time"`
	// Memory of one program that git runs for a client. 0 is no limit. On Linux only.
	Memory Bytes `yaml:"memory"`
	// Hosts that repositories may be mirrored from although they are in a private network:
	// names, addresses, or prefixes such as 10.0.0.0/8.
	MirrorAllow []string `yaml:"mirror_allow"`
	// PEM file with authorities that certificates of mirrored hosts must be under, in
	// place of the system's.
	MirrorCA string `yaml:"mirror_ca"`
}

// GC says when bytes that nothing needs are deleted. It runs while the server serves.
type GC struct {
	// Time between collections. 0 leaves them to `sekisho gc`.
	Interval time.Duration `yaml:"interval"`
	// How long a layer stays that no manifest needs, from the last time a client was
	// told that it is there. A push must not take longer.
	Grace time.Duration `yaml:"grace"`
	// How long an unfinished upload can be continued.
	Uploads time.Duration `yaml:"uploads"`
	// How long a manifest stays that no tag and no index names. 0 keeps it forever.
	Untagged time.Duration `yaml:"untagged"`
	// How long the bytes of a layer stay after nothing names them any more, for
	// clients that are reading them. Not less than a presigned URL is good for.
	DeleteDelay time.Duration `yaml:"delete_delay"`
}

// Limits bound what one client, or all together, may use.
type Limits struct {
	// Connections open at once; more wait to be accepted. 0 is no limit.
	Connections int `yaml:"connections"`
	// How long a client may take to send the header of a request.
	Header time.Duration `yaml:"header"`
	// How long a connection may stay open between requests.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// How long a body, in either direction, may make no progress.
	Idle time.Duration `yaml:"idle"`
	// How many bytes a second, on average, an upload must come with at least. 0 is
	// any rate.
	MinRate Bytes `yaml:"min_rate"`
	// Bytes of one layer.
	Layer Bytes `yaml:"layer"`
	// Unfinished uploads that hold bytes, over all clients.
	Uploads int `yaml:"uploads"`
	// Memory for the manifests and small layers that are read most.
	Cache Bytes `yaml:"cache"`
}

// Audit configures the record of who did what.
type Audit struct {
	// How long entries are kept. 0 keeps them forever.
	Retention time.Duration `yaml:"retention"`
}

// Log configures the server's log.
type Log struct {
	// debug, info, warn or error.
	Level slog.Level `yaml:"level" flag:"log-level"`
	// json, text, or auto: text on a terminal, else json.
	Format string `yaml:"format" flag:"log-format"`
}

// Proxies says who is believed about where a request came from.
type Proxies struct {
	// Addresses or prefixes of the proxies, such as 10.0.0.0/8. Nobody else's
	// forwarding headers are looked at.
	Trusted []netip.Prefix `yaml:"trusted"`
	// What they write: x-forwarded-for (with -proto and -host), or forwarded (RFC
	// 7239). The other one is ignored, since they pass it on as the client sent it.
	Header string `yaml:"header"`
}

// Tracing configures OpenTelemetry traces.
type Tracing struct {
	// OTLP/HTTP endpoint, such as http://collector:4318. When empty,
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT; without
	// either there is no tracing. OpenTelemetry's variables for headers, timeout,
	// batches and the service's name apply too.
	Endpoint string `yaml:"endpoint"`
	// The part of requests to trace, from 0 to 1, where the caller has not decided.
	Sample float64 `yaml:"sample"`
}

// Metrics configures /metrics.
type Metrics struct {
	// Clients that may read /metrics on the addresses of listen. Others get a 404.
	Allow []netip.Prefix `yaml:"allow"`
	// An address, host:port, that serves /metrics alone, in plain HTTP and to
	// everybody who reaches it. When empty, there is none.
	Listen string `yaml:"listen"`
}

// Default returns the settings that hold when nothing is said.
func Default() Config {
	return Config{
		Data:   "sekisho-data",
		Listen: []string{"127.0.0.1:5000"},
		Region: "us-east-1",
		TLS: TLS{
			ClientAuth: "require",
			ACME:       ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory"},
		},
		Database: Database{Connections: 8},
		Blobs:    Blobs{S3: S3{Region: "us-east-1", RedirectExpiry: 15 * time.Minute}},
		Git: Git{
			Push:       2 << 30,
			File:       1 << 30,
			Repository: 20 << 30,
			Programs:   16,
			Time:       time.Hour,
			Memory:     4 << 30,
		},
		GC: GC{
			Interval:    time.Hour,
			Grace:       24 * time.Hour,
			Uploads:     24 * time.Hour,
			DeleteDelay: time.Hour,
		},
		Limits: Limits{
			Header:    10 * time.Second,
			KeepAlive: 2 * time.Minute,
			Idle:      time.Minute,
			MinRate:   1 << 10,
			Layer:     52_000 << 20, // ECR's quota
			Uploads:   10_000,
			Cache:     16 << 20,
		},
		Audit:         Audit{Retention: 90 * 24 * time.Hour},
		Log:           Log{Level: slog.LevelInfo, Format: "auto"},
		Proxies:       Proxies{Header: "x-forwarded-for"},
		Tracing:       Tracing{Sample: 1},
		Metrics:       Metrics{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}},
		ShutdownGrace: 30 * time.Second,
	}
}
