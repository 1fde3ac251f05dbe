import { complain, ready } from "./api.js";
import { get } from "./draw.js";
import { pickPicture } from "./pictures.js";

pickPicture(get("pictures")).catch(complain).finally(ready);
