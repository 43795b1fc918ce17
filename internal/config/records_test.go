package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const endpointsFile = `
listen: [":443"]
proxy_protocol:
  listen: [":5443"]
  trusted: [10.0.0.5]
endpoints:
  - id: vpce-0123456789abcdef0
    vpc: vpc-0123456789abcdef0
    listen: ["10.1.0.5:443", "10.1.0.6:443"]
    services: [ecr.api, ecr.dkr]
    forwarders: 10.1.2.0/24, 10.1.3.1
    policy: |
      {"Statement": []}
  - id: vpce-00000001
    senders:
      - 10.2.0.0/16
`

var endpointsWant = []Endpoint{
	{
		ID: "vpce-0123456789abcdef0", VPC: "vpc-0123456789abcdef0", Listen: []string{"10.1.0.5:443", "10.1.0.6:443"},
		Forwarders: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("10.1.3.1/32")},
		Services:   []string{"ecr.api", "ecr.dkr"}, Policy: "{\"Statement\": []}\n",
	},
	{ID: "vpce-00000001", Senders: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}},
}

// What a file says about a list of groups, a variable can say as one text; and what is shown can be given back.
func TestRecords(t *testing.T) {
	l, err := Load(Options{File: write(t, endpointsFile)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(endpointsWant, l.Config.Endpoints, cmpConfig); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{":443", ":5443", "10.1.0.5:443", "10.1.0.6:443"}, l.Config.Addresses()); diff != "" {
		t.Error(diff)
	}
	shown := ""
	for _, s := range l.Settings {
		if s.Key == "endpoints" {
			shown = s.Value
			if !strings.HasSuffix(s.Origin, ":6") {
				t.Errorf("endpoints is from %s", s.Origin)
			}
		}
	}
	again, err := Load(Options{Env: []string{"SEKISHO_ENDPOINTS=" + shown, "SEKISHO_PROXY_PROTOCOL_LISTEN=:1", "SEKISHO_PROXY_PROTOCOL_TRUSTED=10.0.0.5"}})
	if err != nil {
		t.Fatalf("%s: %v", shown, err)
	}
	if diff := cmp.Diff(endpointsWant, again.Config.Endpoints, cmpConfig); diff != "" {
		t.Errorf("from %s: -want +got:\n%s", shown, diff)
	}
	// A later source replaces the whole.
	flagged, err := Load(Options{File: write(t, endpointsFile), Flags: flags(t, "--set", "endpoints=[{id: vpce-00000002, listen: ':2'}]")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Endpoint{{ID: "vpce-00000002", Listen: []string{":2"}}}, flagged.Config.Endpoints, cmpConfig); diff != "" {
		t.Error(diff)
	}
	for _, none := range []string{"", "[]", "null"} {
		l, err := Load(Options{File: write(t, endpointsFile), Env: []string{"SEKISHO_ENDPOINTS=" + none}})
		if err != nil || len(l.Config.Endpoints) != 0 {
			t.Errorf("%q: %v, %v", none, l.Config.Endpoints, err)
		}
	}
}

func TestNetworkProblems(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"crt", "key"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const ok = "listen: [':1'], id: vpce-00000001"
	tests := []struct {
		name, file string
		env        []string
		want       []string
	}{
		{name: "no list", file: "endpoints: vpce-00000001\n", want: []string{`FILE:1: endpoints: a list is expected, as in [{key: value}, {key: value}]`}},
		{name: "no group", file: "endpoints:\n- vpce-00000001\n", want: []string{`FILE:2: endpoints[0]: settings are expected here, in the form key: value`}},
		{name: "unknown key", file: "endpoints:\n- id: vpce-00000001\n  listn: [':1']\n", want: []string{
			`FILE:3: unknown key "endpoints[0].listn"; did you mean "listen"?`}},
		{name: "twice", file: "endpoints:\n- {" + ok + "}\n- id: vpce-00000002\n  listen: ':2'\n  id: vpce-00000003\n", want: []string{
			`FILE:5: endpoints[1].id: is in line 3 already`}},
		{name: "forms", file: "endpoints:\n- id: [a]\n  vpc: {b: c}\n  listen: [[d]]\n  senders: [10.0.0.1/8]\n", want: []string{
			`FILE:2: endpoints[0].id: one value is expected, not a list`,
			`FILE:3: endpoints[0].vpc: a value is expected, not further keys`,
			`FILE:4: endpoints[0].listen: each element must be one value`,
			`FILE:5: endpoints[0].senders: "10.0.0.1/8" has bits beyond its length: write 10.0.0.0/8, or an address`}},
		{name: "in a variable", env: []string{"SEKISHO_ENDPOINTS=[{"}, want: []string{
			`SEKISHO_ENDPOINTS: endpoints: line 1: did not find expected node content`}},
		{name: "key in a variable", env: []string{`SEKISHO_ENDPOINTS=[{"ID": "vpce-00000001"}]`}, want: []string{
			`SEKISHO_ENDPOINTS: unknown key "endpoints[0].ID"`}},
		{name: "values", file: `
proxy_protocol: {listen: [x]}
endpoints:
- id: vpce-XYZ
  vpc: vpce-00000001
  listen: [":y"]
  services: [ecr.dkr, s3]
- vpc: vpc-1
`, want: []string{
			`FILE:4: endpoints[0].id: "vpce-XYZ" is not the id of a private endpoint: vpce- and 8 to 17 hexadecimal digits, such as vpce-0123456789abcdef0`,
			`FILE:5: endpoints[0].vpc: "vpce-00000001" is not the id of a network: vpc- and 8 to 17 hexadecimal digits`,
			`FILE:6: endpoints[0].listen: ":y" is not host:port, such as 10.0.1.5:443`,
			`FILE:7: endpoints[0].services: "s3" is none of ecr.api, ecr.dkr, sts, iam, secretsmanager, git, agents, api, console`,
			`FILE:8: endpoints[1].id: "" is not the id of a private endpoint: vpce- and 8 to 17 hexadecimal digits, such as vpce-0123456789abcdef0`,
			`FILE:8: endpoints[1].vpc: "vpc-1" is not the id of a network: vpc- and 8 to 17 hexadecimal digits`,
			`FILE:8: endpoints[1].senders: missing: nothing leads here. Name the load balancers, here or in proxy_protocol.trusted`,
			`FILE:2: proxy_protocol.listen: "x" is not host:port, such as :5443`,
			`FILE:2: proxy_protocol.listen: has no effect without senders: name them in proxy_protocol.trusted or in an endpoint's senders`}},
		{name: "same id", file: "endpoints: [{" + ok + "}, {listen: [':2'], id: vpce-00000001}]\n", want: []string{
			`FILE:1: endpoints[1].id: vpce-00000001 is the id of endpoints[0] already`}},
		{name: "same sender", file: "proxy_protocol: {listen: [':9']}\nendpoints: [{id: vpce-00000001, senders: [10.0.0.0/8]}, {id: vpce-00000002, senders: [10.2.0.0/16]}]\n", want: []string{
			`FILE:2: endpoints[1].senders: 10.2.0.0/16 is among the senders of endpoints[0]: a sender leads to one endpoint, or, in proxy_protocol.trusted, says which`}},
		{name: "no way in", file: "endpoints: [{id: vpce-00000001}]\n", want: []string{
			`FILE:1: endpoints[0].listen: missing: nothing leads here. Give it addresses of its own, or a load balancer with proxy_protocol.listen`}},
		{name: "same address", file: "listen: [':7']\nendpoints: [{id: vpce-00000001, listen: [':7']}]\n", want: []string{
			`FILE:1: listen: :7 is given twice, there or in proxy_protocol.listen or an endpoint's listen`}},
		{name: "trusted for nothing", file: "proxy_protocol: {trusted: [10.0.0.1]}\n", want: []string{
			`FILE:1: proxy_protocol.trusted: has no effect without proxy_protocol.listen`}},
		{name: "half a pair", file: "tls:\n  certificates:\n  - cert: DIR/crt\n  - {key: DIR/key, cert: DIR/none}\n", want: []string{
			`FILE:3: tls.certificates[0].key: missing: name the file with the certificate's key`,
			`FILE:4: tls.certificates[1].cert: open DIR/none: no such file or directory`}},
		{name: "client CA without TLS", file: "tls: {client_ca: DIR/crt, client_auth: maybe, names: [a]}\n", want: []string{
			`FILE:1: tls.names: has no effect without tls.auto, whose certificate they are for`,
			`FILE:1: tls.client_ca: has no effect without TLS: set tls.cert, tls.auto or tls.acme.names`,
			`FILE:1: tls.client_auth: "maybe" is none of require, optional`}},
		{name: "ACME", file: "tls: {acme: {names: ['*.a.example', 10.0.0.1, host], directory: 'http://ca', eab_key: x, listen: x}}\n", want: []string{
			`FILE:1: tls.acme.names: "*.a.example" can't be had: give full host names, without wildcards; tls.auto serves addresses and any name`,
			`FILE:1: tls.acme.names: "10.0.0.1" can't be had: give full host names, without wildcards; tls.auto serves addresses and any name`,
			`FILE:1: tls.acme.names: "host" can't be had: give full host names, without wildcards; tls.auto serves addresses and any name`,
			`FILE:1: tls.acme.directory: "http://ca" is not an https URL, such as https://ca.example.com/acme/acme/directory`,
			`default: tls.acme.eab_key_id: missing: tls.acme.eab_key needs it`,
			`FILE:1: tls.acme.listen: "x" is not host:port, such as :80`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Env: tt.env}
			if tt.file != "" {
				o.File = write(t, strings.ReplaceAll(tt.file, "DIR", dir))
			}
			_, err := Load(o)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR")
			if o.File != "" {
				got = strings.ReplaceAll(got, o.File, "FILE")
			}
			if diff := cmp.Diff(tt.want, strings.Split(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What others find wrong is reported with the line that it is in.
func TestCheck(t *testing.T) {
	file := write(t, endpointsFile)
	o := Options{File: file, Check: func(c *Config, report func(string, error)) {
		for i, e := range c.Endpoints {
			if i == 0 && e.Policy != "" {
				report("endpoints[0].policy", errors.New("line 1, column 2: no"))
			}
		}
		report("listen", nil)
	}}
	_, err := Load(o)
	if err == nil || err.Error() != file+":12: endpoints[0].policy: line 1, column 2: no" {
		t.Error(err)
	}
	o.Check = func(*Config, func(string, error)) { t.Error("called although something else is wrong") }
	if _, err := Load(Options{File: write(t, "region: A\n"), Check: o.Check}); err == nil {
		t.Error("accepted")
	}
}
