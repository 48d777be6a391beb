// Prints FILE, a tab, and what Ignition's parser minds in it; nothing where it takes it without a warning.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/coreos/ignition/v2/config"
)

func main() {
	for _, path := range os.Args[1:] {
		why := ""
		text, err := os.ReadFile(path)
		if err == nil {
			_, report, parsed := config.Parse(text)
			err = parsed
			if len(report.Entries) > 0 {
				why = report.String()
			}
		}
		if err != nil {
			why = err.Error() + " " + why
		}
		fmt.Printf("%s\t%s\n", path, strings.Join(strings.Fields(why), " "))
	}
}
