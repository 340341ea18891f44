package breached

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestStolenPasswordsAreKnownHoweverTheyAreWritten(t *testing.T) {
	for _, p := range []string{
		"password", "12345678", "iloveyou", "passwordpassword", "123456789987654321", "1qaz2wsx3edc4rfv", "1234567890qwerty",
		"PasswordPassword", "PASSWORDPASSWORD", "ｐａｓｓｗｏｒｄｐａｓｓｗｏｒｄ",
	} {
		if !Contains(p) {
			t.Errorf("%q is not on the list", p)
		}
	}
	for _, p := range []string{"", "correct horse battery", "passwordpassword ", "the tide turns at half past four"} {
		if Contains(p) {
			t.Errorf("%q is on the list", p)
		}
	}
}

// The list is what the binary carries of it, and it is long enough for
// SEC-LOG-20, which asks for 3 000.
func TestTheListIsLongAndSmall(t *testing.T) {
	if Count() < 100_000 || len(list) >= 500_000 {
		t.Errorf("%d passwords in %d bytes", Count(), len(list))
	}
}

// A good password is refused once in FalseOneIn times: a list of a thousand, asked
// 20 million times, says yes about 19 times.
func TestOtherPasswordsAreRarelyRefused(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var few []string
	for range 1000 {
		few = append(few, fmt.Sprintf("%016x", random.Uint64()))
	}
	coded := numbers(Encode(few))
	const asked = 2_000_000
	wrong := 0
	for n := range asked {
		if coded[reduced(fmt.Sprintf("password number %d", n), 1000)] {
			wrong++
		}
	}
	if expected := asked / float64(FalseOneIn); float64(wrong) > expected+6*math.Sqrt(expected) {
		t.Errorf("%d of %d were refused wrongly, expected about %.0f", wrong, asked, expected)
	}
}

// numbers are what a list holds, for tests that ask it millions of times.
func numbers(list []byte) map[uint64]bool {
	out, r, at := map[uint64]bool{}, readerAt(list, 0), uint64(0)
	for range int(list[2])<<8 | int(list[3]) {
		at += r.next()
		out[at] = true
	}
	return out
}

func TestWhatWasEncodedIsFoundAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.String(), 1, 3*stride).Draw(t, "in")
		coded := Encode(in)
		marks := marksOf(coded)
		known := map[string]bool{}
		for _, p := range in {
			if known[Folded(p)] = true; !contains(coded, marks, p) {
				t.Fatalf("%q was encoded and is not found", p)
			}
		}
		// A stranger is taken for one of them once in a million times.
		if p := rapid.StringN(20, 40, -1).Draw(t, "stranger"); !known[Folded(p)] && contains(coded, marks, p) && contains(coded, marks, p+"!") {
			t.Fatalf("%q was not encoded and is found", p)
		}
	})
}

func BenchmarkContains(b *testing.B) {
	for b.Loop() {
		Contains("the tide turns at half past four")
	}
}
