package awsapi

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestXML(t *testing.T) {
	at := time.Date(2026, 1, 2, 5, 4, 5, 999e6, time.FixedZone("", 7200))
	for _, tt := range []struct {
		out  everything
		want string
	}{
		{everything{}, "<Flag>false</Flag>"},
		{everything{Text: new("<&>\u2028\x01"), Flag: true}, "<Text>&lt;&amp;&gt;\u2028\uFFFD</Text><Flag>true</Flag>"},
		{everything{Text: new(""), Fruit: "kiwi", Maybe: new(false)}, "<Text></Text><Fruit>kiwi</Fruit><Flag>false</Flag><Maybe>false</Maybe>"},
		{everything{Small: new(int32(0)), Large: new(int64(math.MinInt64)), Ratio: new(math.Inf(-1))},
			"<Flag>false</Flag><Small>0</Small><Large>-9223372036854775808</Large><Ratio>-Infinity</Ratio>"},
		{everything{Blob: []byte{0, 1, 255}, At: &at}, "<Flag>false</Flag><Blob>AAH/</Blob><At>2026-01-02T03:04:05Z</At>"},
		{everything{Fruits: []fruit{}, Strings: []string{"a", ""}},
			"<Fruits></Fruits><Flag>false</Flag><Strings><member>a</member><member></member></Strings>"},
		{everything{Inner: &inner{}, List: []inner{{Key: new("k")}, {}}},
			"<Flag>false</Flag><Inner></Inner><List><member><Key>k</Key></member><member></member></List>"},
		{everything{Map: map[string]string{"b": "2", "a": ""}},
			"<Flag>false</Flag><Map><entry><key>a</key><value></value></entry><entry><key>b</key><value>2</value></entry></Map>"},
		{everything{Deep: map[string]inner{"n": {Count: new(int32(1))}}},
			"<Flag>false</Flag><Deep><entry><key>n</key><value><Count>1</Count></value></entry></Deep>"},
		{everything{Lists: [][]string{{"a"}, {}}},
			"<Flag>false</Flag><Lists><member><member>a</member></member><member></member></Lists>"},
	} {
		var x xmlWriter
		x.members(reflect.ValueOf(tt.out))
		if x.String() != tt.want {
			t.Errorf("got  %s\nwant %s", x.String(), tt.want)
		}
	}
}

func TestCheckShape(t *testing.T) {
	type channel struct{ C chan int }
	type numbered struct{ M map[int32]string }
	type open struct{ A any }
	for _, tt := range []struct {
		v       any
		in, out bool
	}{
		{everything{}, true, true}, {channel{}, false, false}, {numbered{}, false, false}, {open{}, true, false}, {struct{ X []open }{}, true, false},
	} {
		if err := checkShape(reflect.TypeOf(tt.v), false); (err == nil) != tt.in {
			t.Errorf("in: %T: %v", tt.v, err)
		}
		if err := checkShape(reflect.TypeOf(tt.v), true); (err == nil) != tt.out {
			t.Errorf("out: %T: %v", tt.v, err)
		}
	}
}
