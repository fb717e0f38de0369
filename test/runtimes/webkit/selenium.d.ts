// Node needs the whole path, for the package has no "exports"; its types know the folder alone.
declare module "selenium-webdriver/remote/index.js" {
  export { DriverService } from "selenium-webdriver/remote";
}
