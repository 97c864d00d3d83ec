package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes; 0 stands for off where a key allows that.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(text string) (Size, error) {
	factor := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, factor = strings.TrimSuffix(number, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, errors.New("not a size")
	}
	return Size(n * factor), nil
}

func (f field) setSize(to *Size, text string) error {
	orOff := ""
	if f.off {
		orOff = ", or off"
	}
	if f.off && text == "off" {
		*to = 0
		return nil
	}
	n, err := parseSize(text)
	if err != nil {
		return &wanted{what: "a size such as 500, 64KiB or 1MiB" + orOff, suggestion: binaryUnit(text)}
	}
	if least, most := limits(f, parseSize); n < least || n > most {
		return &wanted{what: fmt.Sprintf("a size from %s to %s%s", f.least, f.most, orOff)}
	}
	*to = n
	return nil
}

// binaryUnit is the likely meaning of a size in another unit: 1MB, 1M or 1mb for 1MiB.
func binaryUnit(text string) string {
	number := strings.TrimRight(text, "KMGTIBkmgtib ")
	if _, err := strconv.ParseInt(number, 10, 64); err != nil || number == text {
		return ""
	}
	letter := strings.ToUpper(strings.TrimSpace(text[len(number):])[:1])
	meant := number + letter + "iB"
	if letter == "I" || letter == "B" || meant == text {
		return ""
	}
	return meant
}
