package git

import (
	"errors"
	"fmt"
	"io"
)

// maxPacket is the most bytes of a packet, with its length (gitprotocol-common).
const maxPacket = 65520

var errPacket = errors.New("the request is not in git's packet format")

// packet is a line of git's protocol.
type packet struct {
	data  []byte // good until the next one is read
	flush bool
}

// packetReader reads packets. It reads no byte after the last one.
type packetReader struct {
	r    io.Reader
	left int64 // bytes of packets that may still come
	buf  []byte
}

// next returns the next packet. The end of the input is io.EOF before a packet, and an error in one.
func (p *packetReader) next() (packet, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errPacket
		}
		return packet{}, err
	}
	n := 0
	for _, c := range head {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			return packet{}, errPacket
		}
	}
	switch {
	case n == 0:
		return packet{flush: true}, nil
	case n < 4 || n > maxPacket:
		return packet{}, errPacket
	}
	n -= 4
	if p.left -= int64(n + 4); p.left < 0 {
		return packet{}, errorf(TooLarge, "the request has more commands than the server takes at once; push fewer refs at a time")
	}
	if cap(p.buf) < n {
		p.buf = make([]byte, max(n, 256))
	}
	p.buf = p.buf[:n]
	if _, err := io.ReadFull(p.r, p.buf); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errPacket
		}
		return packet{}, err
	}
	return packet{data: p.buf}, nil
}

// writePacket writes one packet.
func writePacket(w io.Writer, data string) error {
	_, err := fmt.Fprintf(w, "%04x%s", len(data)+4, data)
	return err
}

const flushPacket = "0000"

// sideband writes data to one of the channels that share the answer: 1 the report, 2 what the client shows, 3 a fatal error.
func sideband(w io.Writer, channel byte, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), 8000) // far below maxPacket, so that progress shows
		if _, err := fmt.Fprintf(w, "%04x%c%s", n+5, channel, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
