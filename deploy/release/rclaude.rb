# The formula of a Homebrew tap. `make release` fills the address, the version and the sum of the binary.
class Rclaude < Formula
  desc "Hand a coding task to an agent and close the laptop"
  homepage "@URL@"
  url "@URL@/rclaude-@VERSION@-@PLATFORM@"
  version "@VERSION@"
  sha256 "@SHA256@"
  license "Apache-2.0"

  depends_on :linux
  depends_on arch: :x86_64

  def install
    bin.install "rclaude-@VERSION@-@PLATFORM@" => "rclaude"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/rclaude --version")
  end
end
