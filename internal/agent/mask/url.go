package mask

// urlState looks for the password of a URL, what stands between // user : and the last @ of the authority (RFC 3986,
// section 3.2). As passwords are often not escaped, an @ in one is taken for a part of it.
type urlState struct {
	in   urlPart
	from int64 // where the password would begin
	at   int64 // where the last @ stands; 0 for none yet
	n    int   // bytes of the user
}

type urlPart uint8

const (
	urlOutside  urlPart = iota
	urlSlash            // after /
	urlUser             // after //
	urlPassword         // after // user :
)

// maxAuthority bounds what is held back for a URL. A longer password is masked in its first part if an @ was seen.
const maxAuthority = 8 << 10

// step takes a byte, which ends at a place of the text, and returns a password that is complete.
func (u *urlState) step(b byte, end int64) (span, bool) {
	switch u.in {
	case urlOutside:
		if b == '/' {
			u.in = urlSlash
		}
	case urlSlash:
		u.in = urlOutside
		if b == '/' {
			u.in, u.n = urlUser, 0
		}
	case urlUser:
		u.n++
		switch {
		case b == ':':
			u.in, u.from, u.at = urlPassword, end, 0
		case b == '/' && u.n == 1: // a third slash: there is no authority
			u.in = urlUser
			u.n = 0
		case b == '/':
			u.in = urlSlash
		case !authority(b) || u.n > maxAuthority:
			u.in = urlOutside
		}
	case urlPassword:
		if b == '@' {
			u.at = end - 1
			break
		}
		if authority(b) && end-u.from < maxAuthority {
			break
		}
		s, ok := u.end()
		u.in = urlOutside
		if b == '/' {
			u.in = urlSlash
		}
		return s, ok
	}
	return span{}, false
}

// held returns from where on the text may be a password.
func (u *urlState) held() (int64, bool) { return u.from, u.in == urlPassword }

// end returns the password of a text that ends here.
func (u *urlState) end() (span, bool) {
	if u.in != urlPassword || u.at <= u.from {
		return span{}, false
	}
	return span{u.from, u.at}, true
}

// authority reports whether a byte may stand in an authority, as people write it: what RFC 3986 allows there, and letters of
// all alphabets.
func authority(b byte) bool {
	switch b {
	case '-', '.', '_', '~', '%', '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '=', ':', '@', '^':
		return true
	}
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b >= 0x80
}
